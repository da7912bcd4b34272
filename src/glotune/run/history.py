"""A run's events as columns: one training curve, one curve for each evaluated split and language."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glotune.run.records import Averaged, Event

SPLITS = ("validation/", "test/", "train/")
"""Keys of evaluations while training; those of the kept checkpoint (``best/...``) stand in metrics.json."""
STEP_MARK = b'"kind":"step"'
"""In the line of a step, as glotune writes it."""


@dataclass(frozen=True)
class StepPoint:
    """One optimizer step. Values are NaN where the event holds none."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    texts: int
    tokens: int
    seconds: float
    wait_seconds: float
    """How much of `seconds` the step waited for its micro-batches."""


@dataclass(frozen=True)
class ScorePoint:
    """Scores at one moment of training; epochs count from 0 at the start to `train.epochs` at the end."""

    step: int
    epoch: float
    scores: dict[str, float]
    n: int


@dataclass(frozen=True)
class Notice:
    """A warning, alert or deviation, when it was raised."""

    kind: str
    step: int
    epoch: float
    message: str


@dataclass(frozen=True)
class History:
    """The events of a run that count, sorted into series."""

    steps: tuple[StepPoint, ...] = ()
    train: tuple[ScorePoint, ...] = ()
    """One point an epoch: the metrics as trained, with dropout on."""
    evaluations: dict[tuple[str, str], tuple[ScorePoint, ...]] = field(default_factory=dict)
    """(split, language) -> points in order of training."""
    best_step: int | None = None
    best_epoch: float | None = None
    best: dict[str, Any] = field(default_factory=dict)
    checkpoints: tuple[dict[str, Any], ...] = ()
    cost: dict[str, Any] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    refused_steps: int = 0
    """Steps whose loss or gradient was not finite; they made no update and are not among `steps`."""

    def languages(self, split: str) -> list[str]:
        """Languages that were evaluated on `split` while training, in order of appearance."""
        return [language for known, language in self.evaluations if known == split]

    def epoch_of(self, step: int | None) -> float | None:
        """The epoch at which `step` ended, or None where it is unknown."""
        if step is None:
            return None
        points: list[StepPoint | ScorePoint] = [*self.steps]
        for series in self.evaluations.values():
            points.extend(series)
        return next((point.epoch for point in points if point.step == step), None)

    def value_of_end(self, averaged: Averaged | None) -> float | None:
        """What the weights that a run ends with are worth by the metric that chooses: its mean's, where it kept one, or
        its best evaluation's; None where there was none."""
        if averaged is not None and averaged.kept:
            return averaged.value
        return None if "value" not in self.best else float(self.best["value"])

    def last_score(self, split: str, metric: str, languages: list[str]) -> float | None:
        """The plain mean over languages at the last evaluation while training; None where one of them has none."""
        series = [self.evaluations.get((split, language)) for language in languages]
        values = [points[-1].scores.get(metric) if points else None for points in series]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None

    def curves(self, split: str, metric: str, sources: Sequence[str]) -> dict[str, list[ScorePoint]]:
        """language -> the points of a split that have the metric, finite or not; source languages first."""
        found = {
            language: [point for point in points if metric in point.scores]
            for (known, language), points in self.evaluations.items()
            if known == split
        }
        return {
            code: found[code] for code in sorted(found, key=lambda code: (code not in sources, code)) if found[code]
        }

    def mean_curve(self, split: str, metric: str) -> list[ScorePoint]:
        """The plain mean over the languages of a split, at the moments at which each of them has a finite value.

        A mean over fewer languages would be another line.
        """
        series = self.curves(split, metric, ()).values()
        at: dict[int, list[ScorePoint]] = {}
        for point in (point for points in series for point in points if math.isfinite(point.scores[metric])):
            at.setdefault(point.step, []).append(point)
        return [
            ScorePoint(
                step,
                points[0].epoch,
                {metric: sum(point.scores[metric] for point in points) / len(points)},
                sum(point.n for point in points),
            )
            for step, points in sorted(at.items())
            if len(points) == len(series)
        ]

    def train_seconds(self) -> float | None:
        """Wall-clock seconds spent in optimizer steps; None where no step has a time."""
        known = [point.seconds for point in self.steps if math.isfinite(point.seconds)]
        return sum(known) if known else None


def read_history(events: Iterable[Event]) -> History:
    """Sorts events into series. An event that lacks metrics is kept with NaN; unknown keys are ignored."""
    steps: list[StepPoint] = []
    train: list[ScorePoint] = []
    evaluations: dict[tuple[str, str], list[ScorePoint]] = {}
    checkpoints: list[dict[str, Any]] = []
    notices: list[Notice] = []
    best: Event | None = None
    cost: dict[str, Any] = {}
    refused = 0
    for event in events:
        if event.kind == "step":
            steps.append(_step(event))
        elif event.kind == "epoch" and event.key == "train":
            train.append(_scores(event))
        elif event.kind == "evaluation" and event.key.startswith(SPLITS):
            split, _, language = event.key.partition("/")
            evaluations.setdefault((split, language), []).append(_scores(event))
        elif event.kind == "checkpoint":
            checkpoints.append({"step": event.step, "epoch": event.epoch, **event.data})
        elif event.kind == "cost":
            wall = event.data["wall"] if isinstance(event.data.get("wall"), dict) else {}
            measured = {**event.data, **wall}
            cost.update({name: value for name, value in measured.items() if math.isfinite(_number(value))})
        elif event.kind == "best":
            best = event
        elif event.kind in ("warning", "alert", "deviation"):
            notices.append(Notice(event.kind, event.step, event.epoch, str(event.data.get("message", ""))))
            refused += event.kind == "alert" and event.data.get("what") == "nonfinite"
    return History(
        tuple(steps),
        tuple(train),
        {key: tuple(points) for key, points in evaluations.items()},
        best.step if best else None,
        best.epoch if best else None,
        dict(best.data) if best else {},
        tuple(checkpoints),
        cost,
        tuple(notices),
        refused,
    )


TAIL_BYTES = 262_144
"""The last epoch's evaluations of some 25 languages on two splits take 30 KB."""


def read_last(path: Path, tail: int = TAIL_BYTES) -> History:
    """The end of a history, from the last `tail` bytes of an event file: its last step, later evaluations win.

    A thousand runs are listed by it without reading a thousand event files. Empty for a file that isn't there; torn
    and foreign lines are skipped.
    """
    return read_history(_last_events(path, tail)) if path.is_file() else History()


def _last_events(path: Path, tail: int) -> Iterator[Event]:
    with path.open("rb") as file:
        start = max(0, path.stat().st_size - tail)
        file.seek(start)
        lines = file.read().split(b"\n")[:-1]  # what follows the last line end was torn while written
    kept = lines[1:] if start else lines
    # Only the last step line matters: the others are most of the file.
    last_step = max((place for place, line in enumerate(kept) if STEP_MARK in line), default=-1)
    for place, line in enumerate(kept):
        if STEP_MARK not in line or place == last_step:
            with suppress(ValidationError):
                yield Event.model_validate_json(line)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _count(value: Any) -> int:
    """A number of things; 0 for what is none."""
    number = _number(value)
    return int(number) if math.isfinite(number) else 0


def _step(event: Event) -> StepPoint:
    data = event.data
    wall = data.get("wall")
    return StepPoint(
        event.step,
        event.epoch,
        _number(data.get("loss")),
        _number(data.get("learning_rate")),
        _number(data.get("grad_norm")),
        _count(data.get("texts")),
        _count(data.get("tokens")),
        _number(wall.get("seconds")) if isinstance(wall, dict) else math.nan,
        _number(wall.get("wait_seconds")) if isinstance(wall, dict) else math.nan,
    )


def _scores(event: Event) -> ScorePoint:
    scores = {name: _number(value) for name, value in event.data.items() if name not in ("n", "wall")}
    return ScorePoint(event.step, event.epoch, scores, _count(event.data.get("n")))
