"""What the course of a training says: still improving, past its best, or not finite.

The thresholds ask for more than the noise between two evaluations of the same n texts. Between
late epochs about one text in ten changes its answer, so a share moves by sqrt(0.1 / n) by chance
(1.4 points at 500 texts); twice that is asked for, and never less than half a point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

LEAST_GAIN = 0.005
CHURN = 0.1
UNKNOWN_TEXTS = 500
LOSS_STILL_FALLING = 0.05
"""Relative fall of the validation loss in the last epoch that counts as improving."""
LOSS_RISE, LEAST_LOSS_RISE, LOSS_SPREAD = 0.1, 0.02, 0.3
"""Past its best: the validation loss rose by 10 % of its minimum, by 0.02 nats, and by two standard
errors of a mean over n texts whose losses move with a spread of 0.3 nats between epochs."""
TOLERATED_REFUSALS = 0.01
"""Share of steps that may be refused for a loss or gradient that is not finite (a rare bad batch)."""
FEW_STEPS = 20
"""Fewer optimizer steps than this hardly move a pretrained encoder (warmup alone is often longer) and show no trend."""
STEP_FALL, STEP_T = 0.1, -3.0
"""With one evaluation only: the loss of new texts falls over the last half of the steps by 10 % of its
mean, on a regression line with a t of -3."""


@dataclass(frozen=True)
class EpochPoint:
    """One evaluation while training; None where it was not measured.

    Attributes:
        epoch: passes over the training texts, may be a fraction.
        train_loss: mean over the epoch, in nats.
        validation_loss: mean over the texts that choose the checkpoint, in nats.
        metric: the metric that chooses the checkpoint, higher is better, 0 .. 1 or MCC.
    """

    epoch: float
    train_loss: float | None = None
    validation_loss: float | None = None
    metric: float | None = None


@dataclass(frozen=True)
class TrainingHistory:
    """The course of a run, in order.

    Attributes:
        step_losses: loss of each optimizer step, in nats.
        epochs: the evaluations.
        metric: name of `EpochPoint.metric`.
        validation_texts: how many texts stand behind it.
        refused_steps: steps beside `step_losses` whose loss or gradient was not finite; they made no update.
        was_stopped: whether such a step ended the training.
    """

    step_losses: Sequence[float] = ()
    epochs: Sequence[EpochPoint] = field(default=())
    metric: str = "macro_f1"
    validation_texts: int | None = None
    refused_steps: int = 0
    was_stopped: bool = False

    @property
    def noise(self) -> float:
        """The gain of the metric that chance alone seldom gives."""
        return max(LEAST_GAIN, 2.0 * math.sqrt(CHURN / (self.validation_texts or UNKNOWN_TEXTS)))


def not_finite(history: TrainingHistory) -> str | None:
    """The sentence that shows a divergence; None where training stayed, or almost stayed, finite."""
    steps = len(history.step_losses) + history.refused_steps
    if history.was_stopped:
        return f"Training was stopped after {steps} steps by a loss or gradient that is not finite."
    if history.refused_steps > TOLERATED_REFUSALS * steps:
        return (
            f"{history.refused_steps} of {steps} steps had a loss or gradient that is not finite, and made no update."
        )
    for step, loss in enumerate(history.step_losses, start=1):
        if not math.isfinite(loss):
            return f"The loss of step {step} of {len(history.step_losses)} is {loss}."
    for point in history.epochs:
        for name in ("train_loss", "validation_loss", "metric"):
            value = getattr(point, name)
            if value is not None and not math.isfinite(value):
                return f"{name} at epoch {point.epoch:g} is {value}."
    return None


def still_improving(history: TrainingHistory) -> str | None:
    """The sentence that shows it, or None."""
    if len(history.epochs) < 2:
        return _steps_still_falling(history.step_losses)
    points = [point for point in history.epochs if point.metric is not None]
    if len(points) < 2:
        return _loss_still_falling(history)
    metrics = [point.metric for point in points if point.metric is not None]
    last, best_before = metrics[-1], max(metrics[:-1])
    gain = last - best_before
    if gain > history.noise:
        return (
            f"The last evaluation (epoch {points[-1].epoch:g}) has the best {history.metric}, {last:.4f}, "
            f"{gain:.4f} above the best before it; chance seldom gives {history.noise:.4f}."
        )
    losses = [point.validation_loss for point in points if point.validation_loss is not None]
    if gain > 0 and len(losses) == len(points) and losses[-1] < (1.0 - LOSS_STILL_FALLING) * min(losses[:-1]):
        return (
            f"At the last evaluation (epoch {points[-1].epoch:g}) both are at their best: {history.metric} {last:.4f} "
            f"and the validation loss {losses[-1]:.4f}, {1 - losses[-1] / min(losses[:-1]):.0%} below any before."
        )
    return None


def _loss_still_falling(history: TrainingHistory) -> str | None:
    losses = [point.validation_loss for point in history.epochs if point.validation_loss is not None]
    if len(losses) < 2 or losses[-1] >= (1.0 - LOSS_STILL_FALLING) * min(losses[:-1]):
        return None
    return (
        f"The validation loss was lowest at the last evaluation, {losses[-1]:.4f}: "
        f"{1 - losses[-1] / min(losses[:-1]):.0%} below any before."
    )


def past_its_best(history: TrainingHistory) -> str | None:
    """The sentence that shows overfitting, or None.

    A validation loss that rises while the metric gains more than one standard error between two evaluations is a loss
    of calibration, not of skill, and does not count. Two evaluations are enough to show it.
    """
    points = [point for point in history.epochs if point.train_loss is not None and point.validation_loss is not None]
    if len(points) < 2:
        return _metric_fell(history)
    validation = [point.validation_loss for point in points if point.validation_loss is not None]
    training = [point.train_loss for point in points if point.train_loss is not None]
    best = int(np.argmin(validation))
    texts = history.validation_texts or UNKNOWN_TEXTS
    asked = max(LOSS_RISE * validation[best], LEAST_LOSS_RISE, 2.0 * LOSS_SPREAD / math.sqrt(texts))
    then, now = points[best].metric, points[-1].metric
    gained = then is not None and now is not None and now > then + max(LEAST_GAIN, history.noise / 2)
    if validation[-1] - validation[best] < asked or training[-1] >= training[best] or gained:
        return None
    metric = "" if then is None or now is None else f", {history.metric} went from {then:.4f} to {now:.4f}"
    return (
        f"The validation loss was lowest at epoch {points[best].epoch:g} ({validation[best]:.4f}) and ended at "
        f"{validation[-1]:.4f}, while the training loss fell from {training[best]:.4f} to {training[-1]:.4f}{metric}."
    )


def _metric_fell(history: TrainingHistory) -> str | None:
    points = [point for point in history.epochs if point.train_loss is not None and point.metric is not None]
    if len(points) < 2 or any(point.validation_loss is not None for point in points):
        return None
    metrics = [point.metric for point in points if point.metric is not None]
    training = [point.train_loss for point in points if point.train_loss is not None]
    best = int(np.argmax(metrics))
    if metrics[best] - metrics[-1] <= 2.0 * history.noise or training[-1] >= training[best]:
        return None
    return (
        f"{history.metric} was best at epoch {points[best].epoch:g} ({metrics[best]:.4f}) and ended at "
        f"{metrics[-1]:.4f}, while the training loss fell from {training[best]:.4f} to {training[-1]:.4f}."
    )


def _steps_still_falling(step_losses: Sequence[float]) -> str | None:
    late = np.asarray(step_losses, dtype=np.float64)[len(step_losses) // 2 :]
    if len(step_losses) < FEW_STEPS:
        return None
    place = np.arange(len(late)) - (len(late) - 1) / 2
    slope = float(place @ late / (place @ place))
    residual = late - late.mean() - slope * place
    error = math.sqrt(float(residual @ residual) / (len(late) - 2) / float(place @ place))
    fall = slope * len(late)
    if fall > -STEP_FALL * late.mean() or slope > STEP_T * error:
        return None
    return (
        f"The loss still fell by {-fall:.4f} over the last {len(late)} of {len(step_losses)} steps, "
        f"to about {late.mean() + fall / 2:.4f}, on texts that the model had not seen before."
    )
