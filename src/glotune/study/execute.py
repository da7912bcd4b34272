"""Carries the runs of a study out: each in a process of its own, several at once, every finished one once."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from glotune.errors import EXIT_INTERRUPTED, InterruptedRun, UserError
from glotune.records import RunStatus
from glotune.run_dir import RunDirectory
from glotune.run_lock import holding_process
from glotune.study.directory import StudyDirectory
from glotune.study.plan import PlannedRun
from glotune.study.progress import Tally, Watcher

ATTEMPTS = 2
"""Processes that a run gets in one go: a crashed one is continued once, then counted as failed."""
HOPELESS = ("DivergedTraining",)
"""Failures that a repetition would repeat number for number."""
CHILD = (sys.executable, "-m", "glotune.study.child")
"""The command that carries one run out, given the study's folder and the run's name."""
GRACE_SECONDS = 30.0
"""How long a run of a killed study may take to let its directory go."""


@dataclass
class Child:
    """A run that is being carried out."""

    run: PlannedRun
    process: subprocess.Popen[bytes]
    log: Path
    error: str = ""
    kind: str = ""


@dataclass
class Outcome:
    """How the runs of a study ended."""

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Run -> why."""


def state_of(run: PlannedRun, directory: StudyDirectory) -> tuple[bool, str | None]:
    """(finished, why it can't be): whether a run needs no process any more."""
    place = RunDirectory(directory.runs / run.name)
    if not place.manifest_path.exists():
        return False, None
    try:
        manifest = place.read_manifest()
    except UserError:
        return False, None
    hopeless = manifest.status is RunStatus.FAILED and (manifest.reason or "").startswith(HOPELESS)
    return manifest.status is RunStatus.COMPLETE, manifest.reason if hopeless else None


def carry_out(runs: list[PlannedRun], directory: StudyDirectory, jobs: int, watcher: Watcher) -> Outcome:
    """Trains what is not finished, at most `jobs` runs at a time.

    Raises:
        InterruptedRun: Ctrl-C or SIGTERM; the running runs made their checkpoints first.
    """
    with _stopped_like_from_the_keyboard():
        return _Queue(directory, jobs, Tally([run.name for run in runs], watcher)).work(runs)


@contextmanager
def _stopped_like_from_the_keyboard() -> Iterator[None]:
    """SIGTERM ends the study as Ctrl-C does: the running runs make their checkpoints first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Queue:
    """The waiting and the running runs."""

    def __init__(self, directory: StudyDirectory, jobs: int, tally: Tally) -> None:
        self.directory, self.jobs, self.tally = directory, jobs, tally
        self.outcome = Outcome()
        self.attempts: dict[str, int] = {}
        self.running: dict[str, Child] = {}
        self.told: queue.Queue[tuple[str, dict[str, Any] | None]] = queue.Queue()

    def work(self, runs: list[PlannedRun]) -> Outcome:
        waiting: deque[PlannedRun] = deque()
        for run in runs:
            finished, hopeless = state_of(run, self.directory)
            if finished:
                self.outcome.finished.append(run.name)
                self.tally.skip(run.name)
            elif hopeless:
                self.outcome.failed[run.name] = hopeless
                self.tally.skip(run.name)
            else:
                waiting.append(run)
        try:
            while waiting or self.running:
                while waiting and len(self.running) < self.jobs:
                    self._start(waiting.popleft())
                name, message = self.told.get()
                if message is not None:
                    self._listen(name, message)
                elif (again := self._end(name)) is not None:
                    waiting.appendleft(again)
        except BaseException as error:
            self._stop()
            if isinstance(error, KeyboardInterrupt):
                raise InterruptedRun(
                    f"The study was interrupted after {len(self.outcome.finished)} of {len(runs)} runs. Go on with it "
                    "by the same command"
                ) from error
            raise
        return self.outcome

    def _start(self, run: PlannedRun) -> None:
        _wait_until_free(self.directory.runs / run.name)
        self.attempts[run.name] = self.attempts.get(run.name, 0) + 1
        log = self.directory.logs / f"{run.name}.txt"
        with log.open("ab") as stderr:
            process = subprocess.Popen(
                [*CHILD, str(self.directory.path), run.name],
                stdin=subprocess.PIPE,  # its end tells the child that this process is gone
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=_environment(self.jobs),
                process_group=0,  # Ctrl-C reaches it through this process, once
            )
        self.running[run.name] = Child(run, process, log)
        threading.Thread(target=self._read, args=(run.name, process), daemon=True).start()
        self.tally.start(run.name)

    def _read(self, name: str, process: subprocess.Popen[bytes]) -> None:
        for line in process.stdout or ():
            try:
                message = json.loads(line)
            except ValueError:
                continue  # a library printed something
            if isinstance(message, dict):
                self.told.put((name, message))
        process.wait()
        self.told.put((name, None))

    def _listen(self, name: str, message: dict[str, Any]) -> None:
        child = self.running[name]
        if "error" in message:
            child.error, child.kind = message["error"], message["kind"]
        elif "alert" in message:
            self.tally.say(f"{name}: {message['alert']}")
        elif "stage" in message:
            self.tally.progress(name, message["stage"], message["done"], message["total"])

    def _end(self, name: str) -> PlannedRun | None:
        """Books a child that ended; returns the run where it is to be tried again."""
        child = self.running.pop(name)
        code = child.process.returncode
        finished, hopeless = state_of(child.run, self.directory)
        if finished:
            self.outcome.finished.append(name)
            self.tally.end(name, _figures(self.directory.runs / name))
            return None
        if code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        reason = hopeless or child.error or f"its process ended with code {code}: {_last_line(child.log)}"
        fresh_mistake = child.kind == "UserError" and not (self.directory.runs / name).exists()
        if self.attempts[name] < ATTEMPTS and not hopeless and not fresh_mistake:
            self.tally.say(f"{name} failed and is tried again: {reason}")
            if child.error:
                _set_aside(self.directory.runs / name, self.attempts[name])
            self.tally.restart(name)
            return child.run
        self.outcome.failed[name] = reason
        self.tally.end(name, f"failed: {reason}")
        return None

    def _stop(self) -> None:
        """Asks the running runs to make a checkpoint and leave; kills those that don't in time."""
        for child in self.running.values():
            child.process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for child in self.running.values():
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()


def _environment(jobs: int) -> dict[str, str]:
    """The cores shared out among the runs, unless the user said otherwise."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = str(max(1, cores // jobs))
    own = {"OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false" if jobs > 1 else "true"}
    return {**own, **os.environ, "GLOTUNE_STUDY_JOBS": str(jobs)}


def _wait_until_free(run: Path) -> None:
    """A run of a study that was killed a moment ago lets its directory go within that moment.

    Raises:
        UserError: another process keeps it.
    """
    deadline = time.monotonic() + GRACE_SECONDS
    while (holder := holding_process(run / ".lock")) is not None:
        if time.monotonic() > deadline:
            raise UserError(
                f"{run} is in use by process {holder}", remedy=f"Wait for it, or stop it with: glotune stop {run}"
            )
        time.sleep(0.2)


def _set_aside(run: Path, attempt: int) -> None:
    """Moves a run that can't be continued out of the way; a hidden folder keeps it for inspection."""
    if not run.exists():
        return
    number = attempt
    while (aside := run.with_name(f".{run.name}.failed-{number}")).exists():
        number += 1
    run.rename(aside)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"it said nothing ({log})"


def _figures(path: Path) -> str:
    """One line about a finished run: its mean test macro-F1 and verdict."""
    run = RunDirectory(path)
    manifest, metrics = run.read_manifest(), run.read_metrics()
    entries = metrics.get("test") or metrics.get("validation") or {}
    scores = [entry["macro_f1"] for entry in entries.values() if entry.get("macro_f1") is not None]
    score = f"macro-F1 {100 * sum(scores) / len(scores):.1f}" if scores else "no score"
    return f"{score}, {manifest.verdict.status if manifest.verdict else 'no verdict'}"
