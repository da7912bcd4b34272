"""`glotune doctor`: what this machine has, what a run would choose on it and why, and what is missing."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from glotune.model.card import Card


def doctor(
    selftest: Annotated[
        bool, typer.Option("--selftest", help="Train 20 steps on this machine's device and compare with the CPU.")
    ] = False,
) -> None:
    """Show hardware, the device, precision and attention that will be used and why, versions, and what is missing."""
    from glotune.cli.console import show_table

    if selftest:
        _selftest()
        return
    show_table("Hardware", hardware_rows())
    show_table("What a run will use here", choices())
    show_table("Versions", versions())
    show_table("Missing, and only needed for what it says", missing_parts())


def _selftest() -> None:
    """Prints what held, one line each; exit code 1 where something did not."""
    from glotune.cli.console import show_table
    from glotune.verbs.selftest import selftest

    checks = list(selftest())
    show_table(
        "Training here against the CPU",
        [(check.what, f"{'holds' if check.holds else 'DIFFERS'}: {check.found}") for check in checks],
    )
    if not all(check.holds for check in checks):
        raise typer.Exit(1)


Rows = list[tuple[str, str]]

TYPICAL_HIDDEN, TYPICAL_HEADS = 768, 12
"""Of the base encoders, for which the choices are shown."""
WHY_NOT_COMPILED = (
    "off: it specialises by shape and process, so that a resumed run could differ by rounding. On a GPU: "
    "speed.compile=regional"
)
"""It has to be worth that; see docs/performance.md."""
OPTIONAL = {
    "textual": ("monitor", "watching runs live: glotune monitor"),
    "tensorboard": ("tensorboard", "sending runs to TensorBoard"),
    "wandb": ("wandb", "sending runs to Weights & Biases"),
    "trackio": ("trackio", "sending runs to Trackio"),
    "mlflow": ("mlflow", "sending runs to MLflow"),
    "ray": ("ray", "studies on a cluster: glotune study --on ray"),
    "optuna": ("search", "a study that searches"),
}
"""Package -> the extra that brings it, and what it is needed for."""


def hardware_rows() -> Rows:
    """Processor, memory, accelerators and free disk space."""
    import torch

    from glotune.data.cache import cache_folder
    from glotune.model.card import Card, why_no_cuda
    from glotune.run.provenance import hardware
    from glotune.words import gib, size

    found = hardware()
    rows = [
        ("system", str(found["system"])),
        ("processor", f"{found['processor'] or 'unknown'}, {found['cores']} cores for this process"),
        ("memory", gib(float(found["memory_gib"]))),
    ]
    for index in range(torch.cuda.device_count()):
        rows.append((f"cuda:{index}", str(Card.of(f"cuda:{index}"))))
    if (why := why_no_cuda()) is not None:
        rows.append(("GPU", f"not used: {why}"))
    elif not torch.cuda.device_count():
        rows.append(("accelerator", "MPS" if torch.backends.mps.is_available() else "none"))
    for what, folder in (("here", Path.cwd()), ("cache", cache_folder())):
        rows.append((f"disk, {what}", f"{size(_free(folder))} free at {folder}"))
    return rows


def _free(folder: Path) -> int:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def choices() -> Rows:
    """Device, precision, attention, micro-batch budget and threads of a run with a base encoder, each with why."""
    import torch

    from glotune.engine.plan import choose_budget, choose_device, choose_precision, why_threads
    from glotune.engine.probe import free_memory
    from glotune.model.card import Card
    from glotune.words import size

    device = choose_device("auto")
    card = Card.of(device)
    precision, why_precision = choose_precision("auto", card, TYPICAL_HIDDEN)
    tokens, why_tokens = choose_budget(card, TYPICAL_HIDDEN, 12, precision)
    attention, why_attention = _attention(card, precision)
    free = size(free_memory(torch.device(device)))
    return [
        ("device", f"{device}: the fastest device here. Another one: train.device"),
        ("precision", f"{precision}: {why_precision}. Another one: train.precision"),
        ("attention", f"{attention}: {why_attention}"),
        (
            "micro-batch",
            f"{tokens} tokens: {why_tokens}. A run measures what its encoder holds, and halves this until it fits into "
            f"the free memory ({free} now). It changes the speed, never the update",
        ),
        ("threads", f"{torch.get_num_threads()}: {why_threads()}. Another number: OMP_NUM_THREADS"),
        ("compilation", WHY_NOT_COMPILED),
        (
            "shown for",
            f"an encoder {TYPICAL_HIDDEN} wide with 12 layers. For a recipe, with the time of an epoch: "
            "glotune train RECIPE --plan",
        ),
    ]


def _attention(card: Card, precision: str) -> tuple[str, str]:
    """What a run's attention would be, tried on the device as a run does before its first step."""
    import torch

    from glotune.model.network import ATTENTION_OF
    from glotune.model.packed.comparison import compared
    from glotune.model.packed.kernels import PADDED, kernels_of

    kernels, why = kernels_of(card, TYPICAL_HIDDEN // TYPICAL_HEADS)
    if kernels == PADDED:
        return ATTENTION_OF["sdpa"], f"texts run end to end; {why}"
    sound, faults = compared(kernels, TYPICAL_HEADS, TYPICAL_HIDDEN // TYPICAL_HEADS, torch.device(card.kind))
    kernel, left = (kernels.full, sound.full) if precision == "fp32" else (kernels.half, sound.half)
    if left == "sdpa":
        return ATTENTION_OF["sdpa"], f"the faster kernels did not pass their check here: {'; '.join(faults[kernel])}"
    if kernel in sound.undropped:
        return ATTENTION_OF[kernel], f"{why}; padded under dropout: {'; '.join(faults[kernel])}"
    return ATTENTION_OF[kernel], f"{why}; checked here, with dropout"


def versions() -> Rows:
    """Python, and every package that can change a number."""
    from glotune.run.provenance import versions as installed

    return list(installed().items())


def missing_parts() -> Rows:
    """Optional packages that are not installed, with the command that installs them; and a Hub that is switched off."""
    rows = [
        (package, f"{purpose}. pip install 'glotune[{extra}]'")
        for package, (extra, purpose) in OPTIONAL.items()
        if find_spec(package) is None
    ]
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes"):
        rows.append(("Hub", "HF_HUB_OFFLINE is set: only folders, downloaded models and glotune-nano can be used"))
    return rows
