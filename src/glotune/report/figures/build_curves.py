"""From a run's history to the figures over epochs: losses, accuracies, f1_scores, learning_rate."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from glotune.report.figures.data import CurvePanels, Curves, LearningRate, Reference, Role, Series
from glotune.run.data import RunData
from glotune.run.history import ScorePoint

MAX_POINTS = 400
"""More steps than this are averaged into so many bins: a picture 830 pixels wide shows no more."""
SMOOTHING_SHARE = 0.05


def losses(run: RunData) -> CurvePanels | None:
    """Training loss per step (raw and smoothed) and validation loss per language; None before the first step."""
    series = [*_train_losses(run), *_evaluated(run, "validation", "loss")]
    if not series:
        return None
    num_labels = len(run.manifest.labels)
    chance = (Reference(f"ln {num_labels}: knows nothing", math.log(num_labels)),) if num_labels > 1 else ()
    return CurvePanels((Curves("Loss", "nats per text", tuple(series), best_epoch(run), chance, is_percent=False),))


def accuracies(run: RunData) -> CurvePanels | None:
    """Accuracy in training and per language: validation, and test where it was evaluated while training."""
    return _score_panels(run, "accuracy", "accuracy", "Accuracy")


def f1_scores(run: RunData) -> CurvePanels | None:
    """Macro-F1 in training and per language: validation, and test where it was evaluated while training."""
    return _score_panels(run, "macro_f1", "macro-F1", "Macro-F1")


def _score_panels(run: RunData, metric: str, axis: str, title: str) -> CurvePanels | None:
    train = _line("train", "train", list(run.history.train), metric)
    panels = []
    splits: tuple[Role, ...] = ("validation", "test")
    for split in splits:
        evaluated = _evaluated(run, split, metric)
        if split == "test" and all(len(line.x) == 1 for line in evaluated):
            continue  # tested at the last evaluation alone: a figure of the tables, no curve
        first = split == "validation"
        series = [*([train] if train and first else []), *evaluated]
        if series:
            shown = title if first and not evaluated else f"{title}, {split}"
            panels.append(Curves(shown, axis, tuple(series), best_epoch(run)))
    return CurvePanels(tuple(panels)) if panels else None


def best_epoch(run: RunData) -> float | None:
    """The epoch of the checkpoint that was kept; None where none was chosen yet."""
    return run.history.epoch_of(run.manifest.best_step or run.history.best_step)


def _evaluated(run: RunData, split: Role, metric: str) -> list[Series]:
    languages = sorted(run.history.languages(split), key=lambda code: (not run.is_source(code), code))
    lines = [
        _line(code, split, list(run.history.evaluations[split, code]), metric, code, run.is_source(code))
        for code in languages
    ]
    return [line for line in lines if line]


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


def _train_losses(run: RunData) -> list[Series]:
    points = [
        (point.epoch, point.loss, max(1, point.texts)) for point in run.history.steps if math.isfinite(point.loss)
    ]
    if not points:
        line = _line("train", "train", list(run.history.train), "loss")
        return [line] if line else []
    x, y, texts = (np.asarray(column, dtype=np.float64) for column in zip(*points, strict=True))
    smooth_x, smooth_y = thinned(x, smoothed(y, texts))
    raw_x, raw_y = thinned(x, y)
    return [
        Series("train, each step", "train", raw_x, raw_y, is_faint=True),
        Series("train", "train", smooth_x, smooth_y),
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


def thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """At most `MAX_POINTS` points, each the mean of its bin; the last point stays itself."""
    if len(x) <= MAX_POINTS:
        return tuple(x.tolist()), tuple(y.tolist())
    bins = np.array_split(np.arange(len(x) - 1), MAX_POINTS - 1)
    means = [(float(x[part].mean()), float(y[part].mean())) for part in bins] + [(float(x[-1]), float(y[-1]))]
    thin_x, thin_y = zip(*means, strict=True)
    return thin_x, thin_y


def learning_rate(run: RunData) -> LearningRate | None:
    """Learning rate and gradient norm over optimizer steps; None before the first step."""
    points = [(point.step, point.learning_rate) for point in run.history.steps if math.isfinite(point.learning_rate)]
    if not points:
        return None
    steps, rates = (np.asarray(column, dtype=np.float64) for column in zip(*points, strict=True))
    norms = [(point.step, point.grad_norm) for point in run.history.steps if math.isfinite(point.grad_norm)]
    norm_x, norm_y = (
        thinned(*(np.asarray(column, dtype=np.float64) for column in zip(*norms, strict=True))) if norms else ((), ())
    )
    thin_x, thin_y = thinned(steps, rates)
    peak = int(rates.argmax())
    return LearningRate(
        steps=thin_x,
        rate=thin_y,
        norm_steps=norm_x,
        norm=norm_y,
        peak=float(rates.max()),
        warmup_end=int(steps[peak]) if rates[0] < rates[peak] else None,
        max_grad_norm=run.recipe.optimizer.max_grad_norm if run.recipe else None,
    )
