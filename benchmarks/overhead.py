"""What watching costs a training: records, the live monitor and a tracker, as shares of the time of its steps.

The worst case on purpose: the smallest encoder, whose steps are the shortest. Trainings alternate, alone (A) and with
the live monitor in a terminal and TensorBoard's tracker beside them (B); the time inside the recorder is measured in
each, and the processor time of monitor and tracker while steps were made in every B.
"""

from __future__ import annotations

import json
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

SETTINGS = ("model.freeze.layers=0", "model.freeze.embeddings=false", "evaluate.every=9999", "checkpoints.every=9999")
WARM_UP = 250
"""Steps left out at the beginning (some ten seconds), in which monitor and tracker start."""


@dataclass(frozen=True)
class Measured:
    """One training."""

    watched: bool
    step: float
    """Median seconds of a step."""
    recording: float
    """Seconds inside the recorder, per step."""
    monitor: float
    """Processor seconds of the monitor per second of steps."""
    tracker: float
    """The same of the tracker."""
    start: float
    """Processor seconds that both took to start, once."""


def measure(epochs: int, pairs: int) -> list[Measured]:
    """A B A B ..."""
    with tempfile.TemporaryDirectory() as folder:
        _train(Path(folder) / "warm", 13, watched=False)  # fills the cache of tokens
        return [
            _train(Path(folder) / f"{number}{'ab'[watched]}", epochs, watched=bool(watched))
            for number in range(pairs)
            for watched in (0, 1)
        ]


def table(rows: list[Measured]) -> str:
    """Markdown: each training, then what it comes to."""
    lines = ["| | ms per step | records | monitor | tracker |", "| --- | ---: | ---: | ---: | ---: |"]
    for row in rows:
        watchers = f"{row.monitor:.2%} | {row.tracker:.2%}" if row.watched else "- | -"
        kind = "watched" if row.watched else "alone"
        lines.append(f"| {kind} | {1000 * row.step:.1f} | {row.recording / row.step:.2%} | {watchers} |")
    alone, watched = ([row.step for row in rows if row.watched is kind] for kind in (False, True))
    change = statistics.mean(watched) / statistics.mean(alone) - 1
    spread = max(max(each) / min(each) - 1 for each in (alone, watched))
    started = statistics.mean(row.start for row in rows if row.watched)
    lines += [
        "",
        f"Watched against alone: {change:+.2%} per step; equal trainings differ by up to {spread:.2%}. Monitor and "
        f"tracker took {started:.1f} processor seconds to start, once. {_where()}",
    ]
    return "\n".join(lines)


def _where() -> str:
    from glotune.provenance import hardware

    found = hardware()
    return f"{found['processor'] or 'Unknown processor'}, {found['cores']} cores."


def train_timed(out: Path, epochs: int, tracked: bool) -> None:
    """In the training's process: trains, and prints the seconds inside the recorder per step."""
    from glotune import train
    from glotune.training.recorder import Recorder

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
    code = "import sys; from pathlib import Path; from benchmarks.overhead import train_timed; "
    code += f"train_timed(Path({str(out)!r}), {epochs}, {watched})"
    training = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    beside = _Beside(out, watched)
    told = training.communicate()[0]
    if training.returncode:
        raise RuntimeError(f"the training ended with code {training.returncode}")
    beside.stop()
    from glotune.run_dir import RunDirectory

    steps = [event for event in RunDirectory.open(out).events() if event.kind == "step"][WARM_UP:]
    seconds = [event.data["wall"]["seconds"] for event in steps]
    monitor, tracker, start = beside.shares(sum(seconds))
    return Measured(watched, statistics.median(seconds), json.loads(told.splitlines()[-1]), monitor, tracker, start)


class _Beside:
    """The live monitor, and a look at its and the tracker's processor time while steps are made."""

    def __init__(self, out: Path, watched: bool) -> None:
        self.out, self.watched = out, watched
        self.monitor: subprocess.Popen[bytes] | None = None
        self.samples: list[tuple[int, float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        if self.monitor is not None:
            self.monitor.kill()
            self.monitor.wait()
            os.close(self.terminal)

    def shares(self, seconds: float) -> tuple[float, float, float]:
        """Of the monitor and the tracker, from the step behind the warm-up to the last one; and both before it."""
        found = [sample for sample in self.samples if sample[0] >= WARM_UP]
        if not self.watched:
            return 0.0, 0.0, 0.0
        if not found:
            raise RuntimeError(f"no more than {WARM_UP} steps were seen; measure more epochs")
        last = max(steps for steps, _, _ in found)
        end = next(sample for sample in found if sample[0] == last)
        return (end[1] - found[0][1]) / seconds, (end[2] - found[0][2]) / seconds, found[0][1] + found[0][2]

    def _look(self) -> None:
        while self.watched and not self._over.wait(0.5):
            events = self.out / "events.jsonl"
            if not events.exists():
                continue
            if self.monitor is None:
                self._open_monitor()
            steps = events.read_bytes().count(b'"kind":"step"')
            self.samples.append((steps, _seconds(self.monitor.pid if self.monitor else 0), _seconds(self._tracker())))

    def _open_monitor(self) -> None:
        self.terminal, there = pty.openpty()
        command = [sys.executable, "-m", "glotune.cli.main", "monitor", str(self.out)]
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
        self.monitor = subprocess.Popen(command, stdin=there, stdout=there, stderr=there, env=environment)
        os.close(there)
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        with suppress(OSError):
            while os.read(self.terminal, 65_536):
                pass

    def _tracker(self) -> int:
        for process in psutil.process_iter(["pid", "cmdline"]):
            words = process.info["cmdline"] or []
            if "glotune.tracking" in words and str(self.out) in words:
                return int(process.info["pid"])
        return 0


def _seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times() if pid else None
    except psutil.Error:
        return 0.0
    return times.user + times.system if times else 0.0
