"""Does this machine's device train as a CPU does? `glotune doctor --selftest`, for devices that nobody here has."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glotune.engine.plan import choose_device
from glotune.errors import GlotuneError
from glotune.model.card import Card
from glotune.run.directory import RunDirectory
from glotune.verbs.predict import load
from glotune.verbs.train import train

STEPS = 20
EXACT, ROUNDED = 1e-3, 5e-2
"""How far a loss of the device may be from the CPU's in fp32, and in the precision that a run would choose."""
LIKELY = 2e-2
"""How far a probability may be."""


@dataclass(frozen=True)
class Check:
    """One thing that was tried."""

    what: str
    holds: bool
    found: str


def selftest(device: str = "auto") -> Iterator[Check]:
    """Trains the embedded encoder for 20 steps on the CPU and on the device, on toy texts; writes nothing that stays.

    Yields:
        Each check as soon as it is made: which device it is, and whether the runs were on it; losses and predictions
        without dropout in fp32, losses in the precision that a run would choose, a run with dropout, whether every fast
        path of the plan passed its own comparison.
    """
    kind = choose_device(device, key=None)
    alone = "the CPU, compared with itself: no accelerator is here that this torch could use"
    yield Check("device", True, alone if kind == "cpu" else str(Card.of(kind)))
    with tempfile.TemporaryDirectory(prefix="glotune-selftest-") as name:
        folder = Path(name)
        there = _trained(folder / "cpu", "cpu", train__precision="fp32", model__dropout=0.0)
        try:
            yield from _compared(folder, there, kind)
        except (GlotuneError, RuntimeError) as error:
            yield Check(f"training on {kind}", False, str(error).splitlines()[0])


def _compared(folder: Path, reference: RunDirectory, kind: str) -> Iterator[Check]:
    expected = _losses(reference)
    plain = _trained(folder / "fp32", kind, train__precision="fp32", model__dropout=0.0)
    for run, wanted in ((reference, "cpu"), (plain, kind)):
        if (plan := run.read_manifest().plan) is None or plan.device != wanted:
            yield Check(f"training on {wanted}", False, f"the run was on {'nothing' if plan is None else plan.device}")
    yield _apart(f"{len(expected)} losses in fp32", _losses(plain), expected, EXACT)
    texts = ["a lovely book", "the machine never works", "it arrived on Monday, as it was announced two weeks ago"]
    answers = [load(run.path, device=where).predict_proba(texts) for run, where in ((reference, "cpu"), (plain, kind))]
    largest = float(np.abs(answers[0] - answers[1]).max())
    yield Check("predictions", largest <= LIKELY, f"probabilities at most {largest:.1e} apart")
    chosen = _trained(folder / "chosen", kind, model__dropout=0.0)
    yield _apart(f"losses in {_plan(chosen)}", _losses(chosen), expected, ROUNDED)
    dropping = _trained(folder / "dropout", kind)
    found = _losses(dropping)
    holds = len(found) == len(expected) and all(map(math.isfinite, found)) and found != _losses(chosen)
    yield Check("losses with dropout", holds, f"{found[0]:.4f} to {found[-1]:.4f}")
    deviations = [line for run in (plain, chosen, dropping) for line in run.read_manifest().deviations]
    yield Check("fast paths", not deviations, "; ".join(dict.fromkeys(deviations)) or "each passed its comparison")


def _trained(folder: Path, device: str, **overrides: Any) -> RunDirectory:
    chosen = {
        "train__device": device,
        "train__epochs": 1,
        "train__batch_size": 33,
        "model__freeze": {"embeddings": False, "layers": 0},
        "data__test": None,
        "evaluate__baselines": False,
        **overrides,
    }
    return train(
        "quickstart", out=folder, report=False, command=["glotune", "doctor", "--selftest"], **chosen
    ).directory


def _losses(run: RunDirectory) -> list[float]:
    return [event.data["loss"] for event in run.events() if event.kind == "step"][:STEPS]


def _plan(run: RunDirectory) -> str:
    plan = run.read_manifest().plan
    return "?" if plan is None else f"{plan.precision}, attention {plan.attention}"


def _apart(what: str, found: list[float], expected: list[float], most: float) -> Check:
    if len(found) != len(expected):
        return Check(what, False, f"{len(found)} steps instead of {len(expected)}")
    largest = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    return Check(what, largest <= most, f"at most {largest:.1e} from the CPU's (up to {most:g} is rounding)")
