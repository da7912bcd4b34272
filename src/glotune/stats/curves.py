"""ROC and precision-recall curves, one class against the rest, as data for figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from glotune.stats.arrays import Outcomes
from glotune.stats.confusion import FloatArray
from glotune.stats.ranking import roc_auc


@dataclass(frozen=True)
class RocCurve:
    """From (0, 0) to (1, 1); points inside a straight stretch are left out."""

    label: int
    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    auc: float


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """From recall 0, precision 1 to recall 1."""

    label: int
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    average_precision: float
    """The step-wise area, sum of (R_k - R_k-1) P_k, which does not interpolate."""
    prevalence: float
    """Share of the class: the height of a curve that knows nothing."""


def roc_curves(outcomes: Outcomes) -> tuple[RocCurve | None, ...]:
    """[C] one curve for each class, None where no text, or every text, has it."""
    return tuple(
        _roc_curve(index, outcomes.label_B == index, outcomes.probabilities_BC[:, index])
        for index in range(outcomes.num_labels)
    )


def precision_recall_curves(outcomes: Outcomes) -> tuple[PrecisionRecallCurve | None, ...]:
    """[C] one curve for each class, None where no text has it."""
    return tuple(
        _precision_recall_curve(index, outcomes.label_B == index, outcomes.probabilities_BC[:, index])
        for index in range(outcomes.num_labels)
    )


def _counts_at_thresholds(positive_B: ArrayLike, score_B: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """True and false positives [K] as the threshold falls through the K different scores."""
    positive, score = np.asarray(positive_B, dtype=np.float64), np.asarray(score_B, dtype=np.float64)
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.flatnonzero(np.diff(score[order], append=-np.inf))
    true_positives = np.cumsum(positive[order])[last_of_tie]
    return true_positives, 1.0 + last_of_tie - true_positives


def _roc_curve(label: int, positive_B: ArrayLike, score_B: ArrayLike) -> RocCurve | None:
    auc = roc_auc(positive_B, score_B)
    if auc is None:
        return None
    true_positives, false_positives = _counts_at_thresholds(positive_B, score_B)
    tpr = np.concatenate([[0.0], true_positives / true_positives[-1]])
    fpr = np.concatenate([[0.0], false_positives / false_positives[-1]])
    keep = _corners(np.concatenate([[0.0], false_positives]), np.concatenate([[0.0], true_positives]))
    return RocCurve(label, _floats(fpr[keep]), _floats(tpr[keep]), auc)


def _corners(x: FloatArray, y: FloatArray) -> FloatArray:
    """Mask [K] of the points where a line turns, its two ends included."""
    step_x, step_y = np.diff(x), np.diff(y)
    turns = np.abs(step_x[:-1] * step_y[1:] - step_x[1:] * step_y[:-1]) > 0.5  # counts: a turn is 1 or more
    return np.concatenate([[True], turns, [True]])


def _precision_recall_curve(label: int, positive_B: ArrayLike, score_B: ArrayLike) -> PrecisionRecallCurve | None:
    positive = np.asarray(positive_B, dtype=bool)
    if not positive.any():
        return None
    true_positives, false_positives = _counts_at_thresholds(positive, score_B)
    precision = np.concatenate([[1.0], true_positives / (true_positives + false_positives)])
    recall = np.concatenate([[0.0], true_positives / true_positives[-1]])
    area = float(np.sum(np.diff(recall) * precision[1:]))
    return PrecisionRecallCurve(label, _floats(recall), _floats(precision), area, float(positive.mean()))


def _floats(values: FloatArray) -> tuple[float, ...]:
    return tuple(values.tolist())
