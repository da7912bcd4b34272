"""Calibration after training: one temperature, and for two classes one threshold.

Both are fitted on validation texts. Dividing the logits by a temperature leaves every
prediction as it is and only makes the model as sure as it is right (Guo et al. 2017, section
4.2). A threshold other than 1/2 changes predictions, for a rare positive class.

Texts that have weights count by them, as in metrics.

What a fit brings is measured on texts that it did not see: each fifth of them by what the others fitted. On its own
texts a fit looks better than it is, a threshold above all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from glotune.errors import UserError
from glotune.stats.arrays import Outcomes
from glotune.stats.calibration import weighted_ece
from glotune.stats.confusion import FloatArray, IntArray, count_metric

FOLDS, LEAST_TEXTS = 5, 20
"""Fewer texts than this are not cut into folds."""
LOWEST, HIGHEST = 0.05, 20.0
SMALLEST = 1e-30  # a float32 softmax underflows to 0 below about 1e-38


@dataclass(frozen=True)
class TemperatureFit:
    """Above 1 the model was too sure, below 1 not sure enough; losses are means in nats."""

    temperature: float
    loss_before: float
    loss_after: float
    ece_before: float
    ece_after: float
    reason: str | None = None
    """Why none could be fitted; the temperature is then 1."""


@dataclass(frozen=True)
class ThresholdFit:
    """Answer class 1 where its probability is at least `threshold`."""

    threshold: float
    metric: str
    value: float
    value_at_half: float


def apply_temperature(probabilities_BC: FloatArray, temperature: float) -> FloatArray:
    """[B, C] softmax(logits / temperature), from softmax(logits): a softmax forgets only a constant."""
    logits_BC = np.log(np.maximum(probabilities_BC, SMALLEST)) / temperature
    powers_BC = np.exp(logits_BC - logits_BC.max(axis=1, keepdims=True))
    return np.asarray(powers_BC / powers_BC.sum(axis=1, keepdims=True), dtype=np.float64)


def fit_temperature(validation: Outcomes) -> TemperatureFit:
    """The temperature with the least mean loss on validation texts.

    Without an error among them, or with no more skill than guessing, the loss has no minimum: such a
    model keeps temperature 1 and the fit says why.

    Raises:
        UserError: probabilities that are not finite.
    """
    from scipy.optimize import minimize_scalar

    if not validation.is_finite:
        raise UserError("probabilities that are not finite", expected="the output of a model that did not diverge")

    def loss(log_temperature: float) -> float:
        return _mean_loss(apply_temperature(validation.probabilities_BC, float(np.exp(log_temperature))), validation)

    # Convex in 1 / temperature, so the one minimum is found by bracketing.
    bounds = (float(np.log(LOWEST)), float(np.log(HIGHEST)))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    reason = None
    if validation.votes_BC is None and np.array_equal(validation.most_probable_B, validation.label_B):
        reason = f"all {validation.num_texts} validation texts are right: any lower temperature has a lower loss"
    elif min(abs(found.x - bound) for bound in bounds) < 1e-3:
        reason = f"the best temperature lies outside {LOWEST:g} .. {HIGHEST:g}"
    temperature = float(np.exp(found.x)) if reason is None else 1.0
    scaled = replace(validation, probabilities_BC=apply_temperature(validation.probabilities_BC, temperature))
    return TemperatureFit(
        temperature=temperature,
        loss_before=loss(0.0),
        loss_after=_mean_loss(scaled.probabilities_BC, validation),
        ece_before=_calibration_error(validation),
        ece_after=_calibration_error(scaled),
        reason=reason,
    )


def fit_threshold(validation: Outcomes, metric: str = "macro_f1") -> ThresholdFit:
    """The threshold on class 1 with the best metric on validation texts; of equal ones that nearest 1/2.

    Raises:
        UserError: not two classes, or a metric that needs more than counts.
    """
    if validation.num_labels != 2:
        raise UserError(
            f"{validation.num_labels} classes",
            expected="two: a threshold decides between a class and the rest",
            remedy="Use a temperature, which needs no threshold",
        )
    value = count_metric(metric)
    score_B = validation.probabilities_BC[:, 1]
    levels = np.unique(score_B)
    thresholds_K = np.concatenate([[0.5], (levels[:-1] + levels[1:]) / 2])
    values_K = value(_confusion_at(thresholds_K, score_B, validation.label_B, validation.weights_B))
    best_K = np.flatnonzero(values_K >= values_K.max() - 1e-12)
    chosen = best_K[np.abs(thresholds_K[best_K] - 0.5).argmin()]
    return ThresholdFit(float(thresholds_K[chosen]), metric, float(values_K[chosen]), float(values_K[0]))


@dataclass(frozen=True)
class CrossFit:
    """What a temperature (and a threshold) bring on texts that did not fit them: each text by the other folds' fit."""

    loss: float
    ece: float
    value: float | None
    """Of the threshold's metric; None without one."""


def cross_fit(validation: Outcomes, metric: str | None = None) -> CrossFit | None:
    """Cross-fitted loss, calibration error and, for two classes, the metric at the threshold; None for too few texts.

    The folds are a seeded shuffle: the same texts give the same figures.

    Args:
        metric: what the threshold maximises; None: no threshold.
    """
    if validation.num_texts < LEAST_TEXTS:
        return None
    fold_B = np.random.default_rng(0).permutation(validation.num_texts) % FOLDS
    scaled_BC = np.empty_like(validation.probabilities_BC, dtype=np.float64)
    answer_B = np.empty(validation.num_texts, dtype=np.int64)
    for fold in range(FOLDS):
        inside_B = fold_B == fold
        others = validation.at(~inside_B)
        temperature = fit_temperature(others).temperature
        scaled_BC[inside_B] = apply_temperature(validation.probabilities_BC[inside_B], temperature)
        if metric is not None:
            fitted = replace(others, probabilities_BC=apply_temperature(others.probabilities_BC, temperature))
            answer_B[inside_B] = scaled_BC[inside_B, 1] >= fit_threshold(fitted, metric).threshold
    scaled = replace(validation, probabilities_BC=scaled_BC)
    value = None
    if metric is not None:
        confusion_CC = np.zeros((2, 2))
        np.add.at(confusion_CC, (validation.label_B, answer_B), validation.weights_B)
        value = float(count_metric(metric)(confusion_CC))
    return CrossFit(_mean_loss(scaled_BC, validation), _calibration_error(scaled), value)


def _confusion_at(thresholds_K: FloatArray, score_B: FloatArray, label_B: IntArray, weight_B: FloatArray) -> FloatArray:
    """[K, 2, 2] sums of weights when class 1 is answered at or above each threshold."""
    sides = []
    for label in (0, 1):
        inside = np.flatnonzero(label_B == label)
        inside = inside[np.argsort(score_B[inside], kind="stable")]
        below_K = np.searchsorted(score_B[inside], thresholds_K, side="left")
        summed = np.concatenate([[0.0], np.cumsum(weight_B[inside])])
        sides.append(np.stack([summed[below_K], summed[-1] - summed[below_K]], axis=-1))
    return np.stack(sides, axis=1)


def _mean_loss(probabilities_BC: FloatArray, outcomes: Outcomes) -> float:
    """Cross-entropy in nats; where there are votes, against their distribution."""
    logs_BC = np.log(np.maximum(probabilities_BC, SMALLEST))
    if outcomes.votes_BC is not None:
        return float(-np.average((outcomes.shares_BC * logs_BC).sum(axis=1), weights=outcomes.weight_B))
    return float(-np.average(logs_BC[np.arange(outcomes.num_texts), outcomes.label_B], weights=outcomes.weight_B))


def _calibration_error(outcomes: Outcomes) -> float:
    return float(weighted_ece(outcomes, outcomes.weights_B[None])[0])
