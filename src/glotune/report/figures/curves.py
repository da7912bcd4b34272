"""From a run's history to its lines over epochs and steps: the same for pictures, page and terminal."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from glotune.recipe.kinds import TaskName
from glotune.report.figures.growing import curve_of
from glotune.report.figures.model import CurvePanels, Curves, LearningRate, Reference, Role, Series
from glotune.report.scores import display
from glotune.run.data import RunData
from glotune.run.history import ScorePoint
from glotune.stats.traits import TRAITS

SMOOTHING_SHARE = 0.05
SPLITS: tuple[Role, ...] = ("validation", "test")
LOSS_UNITS: dict[TaskName, str] = {
    "single_label": "nats per text",
    "multi_label": "nats per label",
    "score": "share of the variance",
}
TITLES: dict[Role, str] = {"validation": "validation", "test": "test while training"}


def losses(run: RunData) -> CurvePanels | None:
    """Training loss per step (raw and smoothed) and validation loss per language; None before the first step."""
    panels = [panel for panel in curves(run, "loss") if panel.split == "validation"]
    return CurvePanels(tuple(panels)) if panels else None


def score_curves(run: RunData, metric: str) -> CurvePanels | None:
    """A score in training and per language: validation, and test where it was evaluated while training."""
    panels = curves(run, metric)
    return CurvePanels(panels) if panels else None


def curves(run: RunData, metric: str) -> tuple[Curves, ...]:
    """The panels of a metric over epochs: training with validation, and test where it was evaluated while training.

    A split without a line has none; nor has a test split that was evaluated once, at the end: that is a number of the
    tables, no curve.
    """
    key = ("curves", metric)
    if key not in run.memo:
        run.memo[key] = tuple(panel for split in SPLITS if (panel := _panel(run, metric, split)) is not None)
    found: tuple[Curves, ...] = run.memo[key]
    return found


def _panel(run: RunData, metric: str, split: Role) -> Curves | None:
    train = [] if split == "test" else _train_losses(run) if metric == "loss" else _train_scores(run, metric)
    evaluated = [
        line
        for code, points in run.history.curves(split, metric, run.sources).items()
        if (line := _line(code, split, points, metric, code, run.is_source(code))) is not None
    ]
    if (not train and not evaluated) or (split == "test" and all(len(line.x) == 1 for line in evaluated)):
        return None
    known = TRAITS.get(metric)
    shown = [*(["training"] if train else []), *([TITLES[split]] if evaluated else [])]
    return Curves(
        title=f"{display(metric)}, {' and '.join(shown)}",
        y_label=LOSS_UNITS[run.kind.name] if metric == "loss" else display(metric),
        series=(*train, *evaluated),
        best_epoch=best_epoch(run),
        references=_knows_nothing(run) if metric == "loss" else (),
        is_percent=known is None or known.is_percent,
        split=split,
    )


def _knows_nothing(run: RunData) -> tuple[Reference, ...]:
    """The loss of a model that knows nothing of a text."""
    if run.kind.name == "score":
        return (Reference("1: says the mean", 1.0),)
    answers = 2 if run.kind.name == "multi_label" else len(run.manifest.labels)
    return (Reference(f"ln {answers}: knows nothing", math.log(answers)),) if answers > 1 else ()


def best_epoch(run: RunData) -> float | None:
    """The epoch of the checkpoint that was kept; None where none was chosen yet."""
    return run.history.epoch_of(run.manifest.best_step or run.history.best_step)


def _line(
    name: str, role: Role, points: list[ScorePoint], metric: str, language: str | None = None, is_source: bool = False
) -> Series | None:
    kept = [
        (point.epoch, point.scores[metric]) for point in points if math.isfinite(point.scores.get(metric, math.nan))
    ]
    if not kept:
        return None
    x, y = zip(*kept, strict=True)
    return Series(name, role, x, y, language, is_source)


def _train_scores(run: RunData, metric: str) -> list[Series]:
    line = _line("train", "train", list(run.history.train), metric)
    return [line] if line else []


def _train_losses(run: RunData) -> list[Series]:
    points = [
        (point.epoch, point.loss, max(1, point.texts)) for point in run.history.steps if math.isfinite(point.loss)
    ]
    if not points:
        return _train_scores(run, "loss")
    x, y, texts = (np.asarray(column, dtype=np.float64) for column in zip(*points, strict=True))
    raw = curve_of(zip(x.tolist(), y.tolist(), strict=True))
    smooth = curve_of(zip(x.tolist(), smoothed(y, texts).tolist(), strict=True))
    return [
        Series("train, each step", "train", raw.x, raw.y, is_faint=True),
        Series("train", "train", smooth.x, smooth.y),
    ]


def smoothed(values: NDArray[np.float64], texts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred running mean per text over a twentieth of the run; windows are cut off at the ends, so that the last
    point is a mean over several steps too.

    Steps count by their texts: the last batch of an epoch may hold two.
    """
    half = max(1, round(SMOOTHING_SHARE * len(values) / 2))
    sums = np.concatenate([[0.0], np.cumsum(values * texts)])
    counts = np.concatenate([[0.0], np.cumsum(texts)])
    position = np.arange(len(values))
    upper, lower = np.minimum(position + half + 1, len(values)), np.maximum(position - half, 0)
    return np.asarray((sums[upper] - sums[lower]) / (counts[upper] - counts[lower]), dtype=np.float64)


def learning_rate(run: RunData) -> LearningRate | None:
    """Learning rate and gradient norm over optimizer steps; None before the first step."""
    points = [(point.step, point.learning_rate) for point in run.history.steps if math.isfinite(point.learning_rate)]
    if not points:
        return None
    norms = curve_of((point.step, point.grad_norm) for point in run.history.steps)
    rates = curve_of(points)
    peak = next(place for place, (_, rate) in enumerate(points) if rate == rates.high)
    return LearningRate(
        steps=rates.x,
        rate=rates.y,
        norm_steps=norms.x,
        norm=norms.y,
        peak=rates.high,
        warmup_end=points[peak][0] if points[0][1] < rates.high else None,
        max_grad_norm=run.recipe.optimizer.max_grad_norm if run.recipe else None,
    )
