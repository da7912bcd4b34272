"""How far a run's adapters moved: the mean absolute value of their weights."""

from __future__ import annotations

from pathlib import Path

from glotune.run.data import RunData

ADAPTER_FILE = "adapter_model.safetensors"


def mean_weight(run: RunData) -> float | None:
    """Mean |w| over all LoRA matrices (A and B) of the saved adapter; None where the run has none."""
    path = run.directory.adapter / ADAPTER_FILE
    return _mean(path) if path.is_file() else None


def _mean(path: Path) -> float | None:
    import numpy as np
    from safetensors import safe_open

    total, count = 0.0, 0
    with safe_open(path, framework="np") as tensors:
        for name in tensors.keys():  # noqa: SIM118
            if "lora_" in name:
                values = np.abs(tensors.get_tensor(name).astype(np.float64))
                total, count = total + float(values.sum()), count + values.size
    return total / count if count else None
