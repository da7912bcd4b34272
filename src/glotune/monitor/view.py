"""One run at one moment, as a watcher shows it. Typed data; drawing adds no number to it.

When to look again (`Polling`): soon while something happens, later while nothing does, and never more than a share of
a core.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from glotune.recipe.kinds import KINDS
from glotune.report.figures.model import Curve
from glotune.run.directory import RunDirectory
from glotune.run.history import History, Notice, ScorePoint, StepPoint
from glotune.run.records import Manifest
from glotune.run.state import State


@dataclass(frozen=True)
class Language:
    """One evaluated split and language over training."""

    split: str
    code: str
    is_source: bool
    metric: str
    values: tuple[float, ...]
    """Of every evaluation, in order."""
    best: float
    """At the run's best step where it has one, otherwise the highest so far."""

    @property
    def last(self) -> float:
        """At the last evaluation."""
        return self.values[-1]


@dataclass(frozen=True)
class Checkpoint:
    """A folder under checkpoints/."""

    name: str
    step: int
    bytes: int
    metric: float | None
    """The mean of the task's metric over the validated source languages at its step."""
    is_best: bool


@dataclass(frozen=True)
class Pace:
    """How fast it goes; None where no step was timed."""

    tokens_per_second: float | None = None
    texts_per_second: float | None = None
    seconds_left: float | None = None
    padding_saved: float | None = None
    """Share of the tokens of padding to max_length that were not computed."""


@dataclass(frozen=True)
class RunView:
    """What there is to see of a run."""

    path: Path
    name: str
    state: State
    reason: str | None
    metric: str
    """Of its task, which its scores are in."""
    verdict: str | None
    """The verdict, or before there is one the alarm that stands; None: nothing to say yet."""
    verdict_lines: tuple[str, ...]
    created: str
    attempt: int
    plan: str | None
    step: int
    total_steps: int | None
    epoch: float
    epochs: int | None
    newest: StepPoint | None
    """The last step; None before the first."""
    loss: Curve
    """Training loss by step."""
    learning_rate: Curve
    validation_loss: tuple[tuple[int, float], ...]
    """(step, mean over languages)."""
    languages: tuple[Language, ...]
    best_step: int | None
    pace: Pace
    checkpoints: tuple[Checkpoint, ...]
    notices: tuple[Notice, ...]
    log: tuple[str, ...]
    problems: tuple[str, ...] = field(default=())

    @property
    def share_done(self) -> float | None:
        """0 .. 1; None before the first step."""
        return self.step / self.total_steps if self.total_steps else None


def languages_of(
    history: History, manifest: Manifest, split_order: Sequence[str] = ("validation", "test")
) -> list[Language]:
    """The curves of each language while training, sources first; validation before test."""
    found, metric = [], KINDS[manifest.task].metric
    for split in split_order:
        for code, points in history.curves(split, metric, manifest.source_languages).items():
            values = tuple(point.scores[metric] for point in points)
            at_best = [point.scores[metric] for point in points if point.step == history.best_step]
            best = at_best[0] if at_best else max(filter(math.isfinite, values), default=math.nan)
            found.append(Language(split, code, code in manifest.source_languages, metric, values, best))
    return found


def validation_loss_of(history: History) -> list[tuple[int, float]]:
    """Mean validation loss over languages at each evaluation."""
    return [(point.step, point.scores["loss"]) for point in history.mean_curve("validation", "loss")]


def checkpoints_of(run: RunDirectory, history: History, manifest: Manifest) -> list[Checkpoint]:
    """The checkpoints on disk, oldest first. One that vanishes while it is looked at is left out."""
    found = []
    for path in sorted(run.checkpoints.glob("*-*")) if run.checkpoints.is_dir() else []:
        match = re.fullmatch(r"(step|best)-(\d+)", path.name)
        if match is None:
            continue
        try:
            size = sum(file.stat().st_size for file in path.iterdir())
        except OSError:
            continue
        step = int(match[2])
        is_best = step == history.best_step
        found.append(Checkpoint(path.name, step, size, metric_at(history, step, manifest), is_best))
    return sorted(found, key=lambda checkpoint: (checkpoint.step, checkpoint.name))


def metric_at(history: History, step: int, manifest: Manifest) -> float | None:
    """Mean of the task's metric over the validated source languages (all, where none is a source) at `step`."""
    metric, sources = KINDS[manifest.task].metric, manifest.source_languages
    points: dict[str, ScorePoint] = {}
    for (split, code), series in history.evaluations.items():
        for point in series:
            if split == "validation" and point.step == step and metric in point.scores:
                points[code] = point
    chosen = [points[code] for code in points if code in sources] or list(points.values())
    return sum(point.scores[metric] for point in chosen) / len(chosen) if chosen else None


def pace_of(
    recent: Sequence[StepPoint], done: tuple[int, int], total: int | None, max_length: int | None, running: bool
) -> Pace:
    """How fast it goes.

    Args:
        recent: the last steps, which the present pace is measured by.
        done: (texts, tokens) of all steps.
        total: steps of the whole training.
        max_length: tokens that padding would fill every text up to.
        running: whether there is any time left to estimate.
    """
    timed = [point for point in recent if math.isfinite(point.seconds)]
    seconds = sum(point.seconds for point in timed)
    texts, tokens = done
    saved = 1 - tokens / (texts * max_length) if max_length and texts else None
    if not timed or seconds <= 0:
        return Pace(padding_saved=saved)
    left = (total - recent[-1].step) * seconds / len(timed) if total and running else None
    return Pace(
        sum(point.tokens for point in timed) / seconds, sum(point.texts for point in timed) / seconds, left, saved
    )


SHARE = 0.005
"""Of one core's time: what watching may take in all."""
LEAST, MOST = 2.0, 10.0
"""Seconds between two looks. MOST holds even where it costs more than SHARE: a watcher that shows the past is none."""
CALM = 1.5
"""Factor on the next pause after a look that finds nothing new."""


class Polling:
    """Measures what the looks of a watcher cost, and says how long to wait for the next one."""

    def __init__(
        self,
        spent: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
        share: float = SHARE,
        most: float = MOST,
    ) -> None:
        """`spent`: processor seconds so far, of whatever is to stay below `share`."""
        self._spent, self._clock, self._share, self._most = spent, clock, share, most
        self._mark = spent()
        self._due = clock()
        self._pause = LEAST

    @property
    def wait(self) -> float:
        """Seconds until a look is due; 0 when it is."""
        return max(0.0, self._due - self._clock())

    def start(self) -> None:
        """What was spent until now is the price of the start, not of looking."""
        self._mark = self._spent()

    def looked(self, changed: bool) -> None:
        """A look is done and drawn."""
        spent = self._spent()
        cost, self._mark = spent - self._mark, spent
        calm = LEAST if changed else CALM * self._pause
        self._pause = min(self._most, max(LEAST, calm, cost / self._share))
        self._due = self._clock() + self._pause

    def expire(self) -> None:
        """A look is due at once."""
        self._due = self._clock()
