"""What watching costs a training: records, the live monitor, the live page and a tracker.

The worst case on purpose: the smallest encoder, whose steps are the shortest. Trainings alternate, alone (A) and
watched (B): the live monitor in a terminal, `--web` with a reader that asks as a browser does, and TensorBoard's
tracker. Measured are the time inside the recorder, as a share of the step, and the processor time of each watcher, as
a share of one core, from WARM_UP steps on until the last step.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.watchers import WATCHERS, Beside, Sample

SETTINGS = ("model.freeze.layers=0", "model.freeze.embeddings=false", "evaluate.every=5", "checkpoints.every=9999")
WARM_UP = 350
"""Steps left out at the beginning (some 14 seconds), in which the watchers start."""
WORST_SECONDS = 10.0


@dataclass(frozen=True)
class Measured:
    """One training."""

    watched: bool
    step: float
    """Median seconds of a step."""
    recording: float
    """Seconds inside the recorder, per step."""
    shares: dict[str, float] = field(default_factory=dict)
    """Watcher -> processor seconds per second."""
    worst: dict[str, float] = field(default_factory=dict)
    """The same in the worst ten seconds."""
    start: float = 0.0
    """Processor seconds that the watchers took before, once."""


def measure(epochs: int, pairs: int) -> list[Measured]:
    """A B A B ..."""
    with tempfile.TemporaryDirectory() as folder:
        _train(Path(folder) / "warm", 2, watched=False)  # fills the cache of tokens
        return [
            _train(Path(folder) / f"{number}{'ab'[watched]}", epochs, watched=bool(watched))
            for number in range(pairs)
            for watched in (0, 1)
        ]


def table(rows: list[Measured]) -> str:
    """Markdown: each training, then what it comes to."""
    names = " | ".join(WATCHERS)
    lines = [f"| | ms per step | records | {names} |", "| --- | ---: | ---: |" + " ---: |" * len(WATCHERS)]
    for row in rows:
        kind = "watched" if row.watched else "alone"
        shares = [f"{row.shares[name]:.2%}" if row.watched else "-" for name in WATCHERS]
        lines.append(f"| {kind} | {1000 * row.step:.1f} | {row.recording / row.step:.2%} | {' | '.join(shares)} |")
    alone, watched = ([row.step for row in rows if row.watched is kind] for kind in (False, True))
    change = statistics.mean(watched) / statistics.mean(alone) - 1
    spread = max(max(each) / min(each) - 1 for each in (alone, watched))
    seen = [row for row in rows if row.watched]
    worst = ", ".join(f"{name} {max(row.worst[name] for row in seen):.2%}" for name in WATCHERS)
    lines += [
        "",
        f"Watched against alone: {change:+.2%} per step; equal trainings differ by up to {spread:.2%}. The worst ten "
        f"seconds: {worst}. The watchers took {statistics.mean(row.start for row in seen):.1f} processor seconds to "
        f"start, once. {_where()}",
    ]
    return "\n".join(lines)


def _where() -> str:
    from glotune.run.provenance import hardware

    found = hardware()
    return f"{found['processor'] or 'Unknown processor'}, {found['cores']} cores."


def train_timed(out: Path, epochs: int, tracked: bool) -> None:
    """In the training's process: trains, and prints the seconds inside the recorder per step."""
    from glotune import train
    from glotune.engine.recorder import Recorder

    spent = 0.0

    def timed(name: str) -> None:
        plain = getattr(Recorder, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal spent
            started = time.perf_counter()
            try:
                return plain(*arguments, **keywords)
            finally:
                spent += time.perf_counter() - started

        setattr(Recorder, name, call)

    timed("event")
    timed("flush_if_due")
    keys = [*SETTINGS, f"train.epochs={epochs}", f"track={'[tensorboard]' if tracked else '[]'}"]
    run = train("quickstart", keys, out=out, report=False)
    steps = sum(event.kind == "step" for event in run.directory.events())
    print(json.dumps(spent / steps))


def _train(out: Path, epochs: int, *, watched: bool) -> Measured:
    from glotune.run.directory import RunDirectory

    code = "import sys; from pathlib import Path; from benchmarks.overhead import train_timed; "
    code += f"train_timed(Path({str(out)!r}), {epochs}, {watched})"
    training = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, encoding="utf-8")
    with Beside(out, training.pid, watched=watched) as beside:
        told = training.communicate()[0]
    if training.returncode:
        raise RuntimeError(f"the training ended with code {training.returncode}")
    events = [event for event in RunDirectory.open(out).events() if event.kind == "step"]
    seconds = [event.data["wall"]["seconds"] for event in events[WARM_UP:] or events]
    found = Measured(watched, statistics.median(seconds), json.loads(told.splitlines()[-1]))
    return shared(found, beside.samples) if watched else found


def shared(row: Measured, samples: list[Sample]) -> Measured:
    """With what the watchers took from the step behind the warm-up to the last one.

    Raises:
        RuntimeError: the training was over too soon to tell.
    """
    found = [sample for sample in samples if sample.steps >= WARM_UP]
    if not found or found[-1].steps == found[0].steps:
        raise RuntimeError(f"no more than {WARM_UP} steps were seen; measure more epochs")
    end = next(at for at, sample in enumerate(found) if sample.steps == found[-1].steps)
    found = found[: end + 1]
    return replace(
        row,
        shares={name: _share(found[0], found[-1], name) for name in WATCHERS},
        worst={name: _worst(found, name) for name in WATCHERS},
        start=sum(found[0].seconds.values()),
    )


def _share(begin: Sample, end: Sample, name: str) -> float:
    return (end.seconds[name] - begin.seconds[name]) / (end.time - begin.time)


def _worst(samples: list[Sample], name: str) -> float:
    """The highest share of any ten seconds; of all where there are fewer."""
    shares = [_share(samples[0], samples[-1], name)]
    for at, begin in enumerate(samples):
        later = next((sample for sample in samples[at:] if sample.time - begin.time >= WORST_SECONDS), None)
        if later is not None:
            shares.append(_share(begin, later, name))
    return max(shares)
