"""Looks at a run again and again, reading only what is new. It reads; it never writes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

from glotune.errors import UserError
from glotune.monitor.view import (
    Checkpoint,
    Language,
    RunView,
    checkpoints_of,
    languages_of,
    pace_of,
    validation_loss_of,
)
from glotune.recipe import Recipe, yaml
from glotune.recipe.kinds import KINDS
from glotune.report.figures.growing import Growing
from glotune.run.directory import RunDirectory, events_that_count
from glotune.run.history import History, Notice, StepPoint, read_history
from glotune.run.records import Event, Manifest
from glotune.run.state import State, state_of
from glotune.run.tail import Tail
from glotune.words import duration

Stamp = tuple[int, int, int] | None
"""(time of the last change in ns, bytes, inode) of a file; None where there is none."""
LOG_LINES = 200
LOG_BYTES = 64 * 1024
STALLED_SECONDS = 300.0
"""Least silence that counts as stalled; slow steps raise it."""
STALLED_STEPS = 60
"""Silence of this many steps' time counts as stalled."""


class Watcher:
    """Follows one run. Of a file that has not changed it asks the time of its last change, no more."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._tail = Tail(run.events_path)
        self._course = Course()
        self._starts = 0
        """How often the events were read from the first one on."""
        self._manifest: Kept[Manifest] = Kept()
        self._log: Kept[tuple[str, ...]] = Kept()
        self._languages: Kept[tuple[Language, ...]] = Kept()
        self._losses: Kept[tuple[tuple[int, float], ...]] = Kept()
        self._checkpoints: Kept[tuple[Checkpoint, ...]] = Kept()
        self._view: Kept[RunView] = Kept()
        self._recipe: Recipe | None = None
        self._problems: list[str] = []
        self._recipe_read = False

    def look(self) -> RunView:
        """The run as it stands now: the same object as before where nothing has changed.

        Raises:
            UserError: its manifest can't be read.
        """
        stamps = tuple(map(_stamp, (self.run.manifest_path, self.run.log, self.run.checkpoints)))
        manifest = self._manifest.at(stamps[0], self.run.read_manifest)
        state = state_of(self.run, manifest)
        self._take_new()
        stalled = self._stalled() if state is State.RUNNING else None
        key = (stamps, state, self._starts, self._course.taken, stalled)
        return self._view.at(key, lambda: self._see(manifest, state, stalled, stamps))

    def _take_new(self) -> None:
        """Reads what was appended. A later attempt takes back what earlier ones wrote: then all is sorted again."""
        size, read = _size(self.run.events_path), self._tail.offset
        if size == read:
            return
        fresh = self._tail.read() if size > read else []
        if size > read and self._course.continues(fresh):
            self._course.add(fresh)
            return
        self._starts += 1
        self._course = Course()
        if read:
            self._tail = Tail(self.run.events_path)
            fresh = self._tail.read()
        self._course.add(events_that_count(fresh))

    def _see(self, manifest: Manifest, state: State, stalled: Notice | None, stamps: tuple[Stamp, ...]) -> RunView:
        course, history, running = self._course, self._course.history, state is State.RUNNING
        recipe = self._read_recipe()
        epochs = recipe.train.epochs if recipe else None
        total = round(course.step / course.epoch * epochs) if epochs and course.epoch > 0 else None
        max_length = recipe.data.max_length if recipe and recipe.data.windows is None else None
        scored = (self._starts, course.scored, history.best_step, stamps[0])
        return RunView(
            path=self.run.path,
            name=manifest.name,
            state=state,
            reason=manifest.reason,
            metric=KINDS[manifest.task].metric,
            verdict=_verdict(manifest, course.alarm, stalled is not None),
            verdict_lines=_verdict_lines(manifest),
            created=manifest.created,
            attempt=manifest.attempt,
            plan=_plan(manifest),
            step=course.step,
            total_steps=total,
            epoch=course.epoch,
            epochs=epochs,
            newest=course.recent[-1] if course.recent else None,
            loss=course.loss.curve(),
            learning_rate=course.learning_rate.curve(),
            validation_loss=self._losses.at(scored, lambda: tuple(validation_loss_of(history))),
            languages=self._languages.at(scored, lambda: tuple(languages_of(history, manifest))),
            best_step=manifest.best_step if manifest.best_step is not None else history.best_step,
            pace=pace_of(tuple(course.recent), (course.texts, course.tokens), total, max_length, running),
            checkpoints=self._checkpoints.at(
                (*scored, stamps[2]), lambda: tuple(checkpoints_of(self.run, history, manifest))
            ),
            notices=(*history.notices, stalled) if stalled else history.notices,
            log=self._log.at(stamps[1], lambda: tuple(tail_of_log(self.run.log))),
            problems=tuple(self._problems),
        )

    def _read_recipe(self) -> Recipe | None:
        """Once: a run's recipe never changes."""
        if not self._recipe_read:
            self._recipe_read = True
            try:
                text = self.run.recipe.read_text(encoding="utf-8")
                self._recipe = Recipe.model_validate(yaml.parse(text, "recipe.yaml"))
            except (OSError, ValueError, UserError) as error:
                self._problems.append(f"recipe.yaml is not read ({str(error).splitlines()[0]})")
        return self._recipe

    def _stalled(self) -> Notice | None:
        """Says that a running run has shown no sign of life for far longer than its steps take."""
        course = self._course
        signs = (self.run.events_path, self.run.log, self.run.manifest_path, self.run.checkpoints)
        known = [stamp[0] / 1e9 for stamp in map(_stamp, signs) if stamp is not None]
        silent = max(0.0, time.time() - max(known)) if known else 0.0
        slowest = max((point.seconds for point in course.recent if point.seconds == point.seconds), default=0.0)
        if silent < max(STALLED_SECONDS, STALLED_STEPS * slowest):
            return None
        message = f"stalled: no sign of life for {duration(silent)}; its process still holds it"
        return Notice("alert", course.step, course.epoch, message)


def _stamp(path: Path) -> Stamp:
    """Changes whenever the file does; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _size(path: Path) -> int:
    """0 where there is no file."""
    stamp = _stamp(path)
    return stamp[1] if stamp else 0


def _verdict(manifest: Manifest, alarm: str | None, stalled: bool) -> str | None:
    if manifest.verdict is not None:
        return manifest.verdict.status
    return f"{alarm}?" if alarm else "stalled?" if stalled else None


def _verdict_lines(manifest: Manifest) -> tuple[str, ...]:
    if manifest.verdict is None:
        return ()
    return tuple(f"{line.rstrip('.')}." for line in (*manifest.verdict.evidence, *manifest.verdict.remedy))


def _plan(manifest: Manifest) -> str | None:
    plan = manifest.plan
    if plan is None:
        return None
    ranks = f", {plan.ranks} processes" if plan.ranks > 1 else ""
    return f"{plan.device}, {plan.precision}, {plan.attention}, {plan.token_budget} tokens a micro-batch{ranks}"


def tail_of_log(path: Path, lines: int = LOG_LINES) -> list[str]:
    """The last lines of the log; empty where there is none yet."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_BYTES))
            content = file.read().decode(errors="replace")
    except OSError:
        return []
    found = content.splitlines()
    return found[1:][-lines:] if size > LOG_BYTES else found[-lines:]


T = TypeVar("T")


class Kept(Generic[T]):
    """Remembers one value."""

    def __init__(self) -> None:
        self._key: object = self
        self._value: T | None = None

    def at(self, key: object, make: Callable[[], T]) -> T:
        """The value that belongs to `key`; made where `key` is another than the last time."""
        if self._value is None or key != self._key:
            self._value, self._key = make(), key
        return self._value


RECENT_STEPS = 50
"""Throughput and time left are measured over this many last steps: the present pace, not the average of the run."""
TRAINED = ("step", "epoch", "evaluation", "alert", "status")
"""Events that say how far training is."""


class Course:
    """The course of one run. It takes events that count, in order (`glotune.run.directory.events_that_count`)."""

    def __init__(self) -> None:
        self.history = History()
        """All but the steps."""
        self.step, self.epoch = 0, 0.0
        """Optimizer steps done, and where in training that is."""
        self.recent: deque[StepPoint] = deque(maxlen=RECENT_STEPS)
        self.texts = self.tokens = 0
        """Of all steps."""
        self.loss, self.learning_rate = Growing(), Growing()
        self.alarm: str | None = None
        """What the last alert is about; None again once it was taken back."""
        self.taken = self.scored = 0
        """Events so far, and evaluations among them: what rests on either is made anew when it has grown."""
        self._attempt = 0
        self._last_step = 0
        self._seen: set[tuple[str, int, str]] = set()

    def continues(self, events: Sequence[Event]) -> bool:
        """Whether the events only go on: no other attempt begins, and nothing is said a second time.

        Never true of the first ones: they may hold several attempts.
        """
        last, seen = self._last_step, set()
        for event in events:
            key = (event.kind, event.step, event.key)
            again = event.step <= last if event.kind == "step" else key in self._seen or key in seen
            if again or event.attempt != self._attempt:
                return False
            seen.add(key)
            last = event.step if event.kind == "step" else last
        return True

    def add(self, events: Sequence[Event]) -> None:
        """Sorts in what is new."""
        for event in events:
            self._attempt = max(self._attempt, event.attempt)
            if event.kind in TRAINED and event.step > self.step:
                self.step, self.epoch = event.step, event.epoch
            if event.kind == "alert":
                self.alarm = str(event.data["what"]) if "what" in event.data else "alert"
            if event.kind == "warning" and event.data.get("what") == "recovered" and self.alarm == "collapsed":
                self.alarm = None
            if event.kind == "step":
                self._last_step = event.step
            else:
                self._seen.add((event.kind, event.step, event.key))
        fresh = read_history(events)
        for point in fresh.steps:
            self.recent.append(point)
            self.texts += point.texts
            self.tokens += point.tokens
            self.loss.add(point.step, point.loss)
            self.learning_rate.add(point.step, point.learning_rate)
        self.history = _joined(self.history, fresh)
        self.taken += len(events)
        self.scored += sum(map(len, fresh.evaluations.values()))


def _joined(old: History, new: History) -> History:
    evaluations = old.evaluations
    if new.evaluations:
        evaluations = dict(evaluations)
        for key, points in new.evaluations.items():
            evaluations[key] = (*evaluations[key], *points) if key in evaluations else points
    found = new if new.best_step is not None else old
    return replace(
        old,
        evaluations=evaluations,
        best_step=found.best_step,
        best_epoch=found.best_epoch,
        best=found.best,
        notices=old.notices + new.notices,
    )
