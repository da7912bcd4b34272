"""Where the time of glotune's steps goes: torch's profiler over a row's steps, operations grouped by what they are."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from benchmarks.speed import ours
from benchmarks.speed.rows import TrainingRow
from benchmarks.speed.world import World

GROUPS: dict[str, tuple[str, ...]] = {
    "matrix products": ("mm", "bmm", "addmm", "baddbmm", "linear", "mkldnn", "matmul", "mv", "attention"),
    "optimizer": ("adamw", "_foreach", "clip", "norm_except", "linalg_vector_norm"),
    "GELU": ("gelu",),
    "layer norm": ("layer_norm",),
    "softmax": ("softmax",),
    "casts and copies": ("copy_", "_to_copy", "clone", "contiguous", "cat", "index", "gather", "fill_", "zero_"),
    "sums, products and masks by element": ("add", "mul", "div", "sub", "lt", "sum", "dropout", "bernoulli"),
}
"""Group -> what the names of its operations begin with or hold, looked up in this order."""
REST = "everything else"
HOST = "outside torch's operations"


def group_of(operation: str) -> str:
    """The group of an operation by its name, e.g. ``aten::addmm``."""
    name = operation.rpartition("::")[2].lower()
    for group, parts in GROUPS.items():
        if any(name.startswith(part) or (len(part) > 4 and part in name) for part in parts):
            return group
    return REST


def shares(self_seconds: Mapping[str, float], wall: float) -> dict[str, float]:
    """Group -> share of the wall time; what no operation accounts for is `HOST`."""
    sums: dict[str, float] = defaultdict(float)
    for name, seconds in self_seconds.items():
        sums[group_of(name)] += seconds / wall
    sums[HOST] = max(0.0, 1.0 - sum(sums.values()))
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def profile(row: TrainingRow, world: World, steps: int) -> tuple[dict[str, float], float, str]:
    """(shares, seconds, the profiler's own table) of the step that follows so many others."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recording

    from glotune.engine.step import Stepper
    from glotune.errors import InterruptedRun
    from glotune.verbs import train as spine

    os.environ["GLOTUNE_CACHE"] = str(world.cache)
    recorder = recording(activities=[ProfilerActivity.CPU])
    own = Stepper._step
    seconds: list[float] = []

    def step(self: Any, *given: Any, **named: Any) -> Any:
        with recorder if len(seconds) == steps else nullcontext():
            outcome = own(self, *given, **named)
        seconds.append(outcome.seconds)
        return outcome

    job = ours.job_of(row, world)
    with tempfile.TemporaryDirectory() as name, suppress(InterruptedRun):
        Stepper._step = step  # type: ignore[method-assign]
        try:
            watch = ours.Watch(steps + 1)
            spine.train(ours.resolved(job["recipe"]), out=Path(name) / "run", observer=watch, report=False)
        finally:
            Stepper._step = own  # type: ignore[method-assign]
    averages = recorder.key_averages()
    found = {each.key: each.self_cpu_time_total / 1e6 for each in averages}
    return shares(found, seconds[-1]), seconds[-1], averages.table(sort_by="self_cpu_time_total", row_limit=25)


def table(found: Mapping[str, float]) -> str:
    """Markdown."""
    lines = ["| what | share of a step |", "| --- | ---: |"]
    return "\n".join([*lines, *(f"| {name} | {share:.0%} |" for name, share in found.items())])
