"""What a run cost, from its own files: times, speeds, epochs, parameters."""

from __future__ import annotations

import math
from typing import Any

from glotune.run.directory import RunDirectory


def measured(run: RunDirectory) -> dict[str, Any]:
    """Costs of a run by the names of `glotune.stats.traits`; None where the run can't tell.

    Times are those of the optimizer steps that count: a step that was repeated after a crash counts once.
    """
    manifest = run.read_manifest()
    steps = seconds = texts = tokens = 0.0
    epochs, best_epoch = None, None
    for event in run.events():
        if event.kind == "step":
            wall = event.data.get("wall", {}).get("seconds", math.nan)
            steps, seconds, epochs = steps + 1, seconds + wall, event.epoch
            texts, tokens = texts + event.data["texts"], tokens + event.data["tokens"]
        elif event.kind == "best":
            best_epoch = event.epoch
    timed = steps > 0 and math.isfinite(seconds) and seconds > 0
    return {
        "steps": int(steps),
        "epochs": epochs,
        "best_epoch": best_epoch,
        "train_seconds": seconds if timed else None,
        "seconds_per_step": seconds / steps if timed else None,
        "texts_per_second": texts / seconds if timed else None,
        "tokens_per_second": tokens / seconds if timed else None,
        "trainable_parameters": manifest.changes[-1].trainable_after if manifest.changes else None,
    }
