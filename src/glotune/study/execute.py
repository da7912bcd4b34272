"""Carries the runs of a study out: several at once, every finished one once, a crashed one again."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

from glotune.errors import EXIT_INTERRUPTED, InterruptedRun, UserError
from glotune.recipe.kinds import KINDS
from glotune.run.directory import RunDirectory
from glotune.run.lock import is_held
from glotune.run.metrics import averaged
from glotune.run.records import RunStatus
from glotune.study.directory import StudyDirectory
from glotune.study.plan import PlannedRun
from glotune.study.progress import Tally, Watcher
from glotune.study.workers import Alerted, Ended, Message, Moved, Started, Workers

ATTEMPTS = 2
"""Processes that a run gets in one go: a crashed one is continued once, then counted as failed."""
LOSSES = 5
"""Machines that a run may lose in one go, besides: a taken one says nothing about the run."""
HOPELESS = ("DivergedTraining",)
"""Failures that a repetition would repeat number for number."""


@dataclass
class Outcome:
    """How the runs of a study ended."""

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Run -> why."""


class Supply(Protocol):
    """Further runs, planned while others are under way: by how those ended."""

    @property
    def earlier(self) -> Sequence[str]:
        """Names of those that ended in earlier sessions, and need no process any more."""
        ...

    def next(self) -> PlannedRun | None:
        """The next run to begin; None where there is none, for now or for good."""
        ...

    def ended(self, run: PlannedRun, failed: str | None) -> str:
        """Takes note of a run that ended.

        Args:
            failed: why it has no result; None where it has one.

        Returns:
            what is told of it.
        """
        ...


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
    return manifest.status in (RunStatus.COMPLETE, RunStatus.PRUNED), manifest.reason if hopeless else None


def carry_out(
    runs: list[PlannedRun],
    directory: StudyDirectory,
    workers: Workers,
    watcher: Watcher,
    supply: Supply | None = None,
    total: int | None = None,
) -> Outcome:
    """Trains what is not finished.

    Args:
        runs: that are planned already.
        supply: plans more while there is room.
        total: how many there will be in all, as far as that is known; None: these.

    Raises:
        InterruptedRun: Ctrl-C or SIGTERM; the running runs made their checkpoints first.
        RunError: the workers were lost.
    """
    with _stopped_like_from_the_keyboard():
        return _Queue(directory, workers, Tally([run.name for run in runs], watcher, total=total), supply).work(runs)


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

    def __init__(self, directory: StudyDirectory, workers: Workers, tally: Tally, supply: Supply | None = None) -> None:
        self.directory, self.workers, self.tally, self.supply = directory, workers, tally, supply
        # A cluster queues what it has no room for yet; what is planned by how others end had better wait.
        self.at_once = workers.at_once if supply is None else workers.at_once or workers.room
        self.outcome = Outcome()
        self.waiting: deque[PlannedRun] = deque()
        self.running: dict[str, PlannedRun] = {}
        self.attempts: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()

    def work(self, runs: list[PlannedRun]) -> Outcome:
        for name in self.supply.earlier if self.supply else ():
            self.tally.skip(name)
        for run in runs:
            self._sort_in(run)
        try:
            while self._fill():
                self._take(self.workers.listen())
        except BaseException as error:
            self.workers.stop()
            if isinstance(error, KeyboardInterrupt):
                raise InterruptedRun(
                    f"The study was interrupted after {self._done} of {self.tally.total} runs. Go on "
                    "with it by the same command"
                ) from error
            raise
        return self.outcome

    @property
    def _done(self) -> int:
        return len(self.outcome.finished) + len(self.supply.earlier if self.supply else ())

    def _fill(self) -> bool:
        """Begins runs while there is room; whether any is under way."""
        while self.at_once is None or len(self.running) < self.at_once:
            run = self.waiting.popleft() if self.waiting else self.supply.next() if self.supply else None
            if run is None:
                break
            self._start(run)
        return bool(self.running)

    def _sort_in(self, run: PlannedRun) -> None:
        """What an earlier session ended is not repeated."""
        finished, hopeless = state_of(run, self.directory)
        if finished:
            self.outcome.finished.append(run.name)
        elif hopeless:
            self.outcome.failed[run.name] = hopeless
        else:
            self.waiting.append(run)
            return
        if self.supply is not None:  # the session ended before it could take note of it
            self.supply.ended(run, hopeless)
        self.tally.skip(run.name)

    def _start(self, run: PlannedRun) -> None:
        _wait_until_free(self.directory.runs / run.name, self.workers.release_seconds)
        self.workers.start(run.name)
        self.running[run.name] = run

    def _take(self, message: Message) -> None:
        match message:
            case Started(name):
                self.tally.start(name)
            case Alerted(name, told):
                self.tally.say(f"{name}: {told}")
            case Moved(name, stage, done, total):
                self.tally.progress(name, stage, done, total)
            case Ended(name):
                self._end(self.running.pop(name), message)

    def _end(self, run: PlannedRun, ended: Ended) -> None:
        """Books a run whose process is gone, or lets it wait for the next one."""
        finished, hopeless = state_of(run, self.directory)
        if finished:
            self.outcome.finished.append(run.name)
            self.tally.end(run.name, self._told(run, None))
            return
        if ended.code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        reason = hopeless or ended.error or _how(ended)
        if hopeless or not self._worth_another(run, ended):
            self.outcome.failed[run.name] = reason
            self.tally.end(run.name, self._told(run, reason))
            return
        self.tally.say(f"{run.name} failed and is retried: {reason}")
        if ended.error:
            _set_aside(self.directory.runs / run.name, self.attempts[run.name])
        self.tally.restart(run.name)
        self.waiting.appendleft(run)

    def _told(self, run: PlannedRun, failed: str | None) -> str:
        """One line about a run that ended."""
        if self.supply is not None:
            return self.supply.ended(run, failed)
        return _metrics(self.directory.runs / run.name) if failed is None else f"failed: {failed}"

    def _worth_another(self, run: PlannedRun, ended: Ended) -> bool:
        if ended.code is None:
            self.losses[run.name] += 1
            return self.losses[run.name] <= LOSSES
        self.attempts[run.name] += 1
        fresh_mistake = ended.kind == "UserError" and not (self.directory.runs / run.name).exists()
        return self.attempts[run.name] < ATTEMPTS and not fresh_mistake


def _how(ended: Ended) -> str:
    return ended.last_words if ended.code is None else f"its process ended with code {ended.code}: {ended.last_words}"


def _wait_until_free(run: Path, seconds: float) -> None:
    """A run whose process or machine was lost a moment ago lets its directory go within `seconds`.

    Raises:
        UserError: another process keeps it.
    """
    deadline = time.monotonic() + seconds
    while (holder := is_held(run / ".lock")) is not None:
        if time.monotonic() > deadline:
            raise UserError(f"{run} is in use ({holder})", remedy=f"Wait for it, or stop it with: glotune stop {run}")
        time.sleep(0.2)


def _set_aside(run: Path, attempt: int) -> None:
    """Moves a run that can't be continued out of the way; a hidden folder keeps it for inspection."""
    if not run.exists():
        return
    number = attempt
    while (aside := run.with_name(f".{run.name}.failed-{number}")).exists():
        number += 1
    run.rename(aside)


def score_words(metric: str, value: float) -> str:
    """``macro-F1 61.2``."""
    return f"macro-F1 {100 * value:.1f}" if metric == "macro_f1" else f"{metric} {value:.3f}"


def _metrics(path: Path) -> str:
    """One line about a finished run: its test score, of the languages that it was not trained on, and verdict."""
    run = RunDirectory(path)
    manifest, metrics = run.read_manifest(), run.read_metrics()
    entries = metrics.get("test") or metrics.get("validation") or {}
    told = [entries[language] for language in averaged(entries, manifest.source_languages)]
    metric = KINDS[manifest.task].metric
    scores = [entry[metric] for entry in told if entry.get(metric) is not None]
    score = score_words(metric, sum(scores) / len(scores)) if scores else "no score"
    return f"{score}, {manifest.verdict.status if manifest.verdict else 'no verdict'}"
