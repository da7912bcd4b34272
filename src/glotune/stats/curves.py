"""How well a class's probability ranks the texts, one class against the rest: areas, and curves for figures.

scikit-learn has functions for the points of the curves, which equal these (tests/parity); loading it costs two seconds
of processor time that neither a report nor a run spends otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glotune.stats.arrays import Outcomes
from glotune.stats.confusion import FloatArray

Ranking = tuple[int, NDArray[np.bool_], FloatArray]
"""A label, [N] which of the texts that say anything of it have it, and [N] the probability that was stated of each."""


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


def roc_curves(rankings: Iterable[Ranking]) -> tuple[RocCurve | None, ...]:
    """One curve for each label, None where no text, or every text, has it."""
    return tuple(_roc_curve(*each) for each in rankings)


def precision_recall_curves(rankings: Iterable[Ranking]) -> tuple[PrecisionRecallCurve | None, ...]:
    """One curve for each label, None where no text has it."""
    return tuple(_precision_recall_curve(*each) for each in rankings)


def average_precision(positive_N: ArrayLike, score_N: ArrayLike) -> float:
    """The area under the precision-recall steps, as scikit-learn's `average_precision_score`; some text is positive."""
    curve = _precision_recall_curve(0, positive_N, score_N)
    return 0.0 if curve is None else curve.average_precision


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


def roc_auc(positive_B: ArrayLike, score_B: ArrayLike) -> float | None:
    """The share of (positive, negative) pairs ranked rightly, a tie counting half; None without both.

    Positives are sorted, and each negative finds its place among them: for many texts far less memory than
    `weighted_roc_auc` takes, and the same number, since both count halves of pairs.
    """
    positive, scores = np.asarray(positive_B, dtype=bool), np.asarray(score_B, dtype=np.float64)
    above = np.sort(scores[positive])
    negatives = len(scores) - len(above)
    if not len(above) or not negatives:
        return None
    not_below = sum(int(np.searchsorted(above, scores[~positive], side).sum()) for side in ("left", "right"))
    halves = 2 * len(above) * negatives - not_below
    return halves / 2 / (len(above) * negatives)


def roc_auc_per_class(outcomes: Outcomes) -> tuple[float | None, ...]:
    """[C] one-vs-rest AUC; None for a class that no text, or every text, has."""
    return tuple(
        roc_auc(outcomes.label_B == index, outcomes.probabilities_BC[:, index]) for index in range(outcomes.num_labels)
    )


def macro_roc_auc(per_class: tuple[float | None, ...]) -> float | None:
    """The plain mean; None where any class has none, because a mean over fewer classes is another score."""
    defined = [value for value in per_class if value is not None]
    return float(np.mean(defined)) if len(defined) == len(per_class) else None


def weighted_roc_auc(positive_B: ArrayLike, score_B: ArrayLike, weights_RB: FloatArray) -> FloatArray:
    """[R] AUC under each weighting of the texts, NaN where a weighting leaves out a side.

    One sort serves all weightings: for each positive, the weight of the negatives below it
    and half of those tied with it.
    """
    positive = np.asarray(positive_B, dtype=bool)
    _, level_B = np.unique(np.asarray(score_B, dtype=np.float64), return_inverse=True)
    order_B = np.argsort(level_B, kind="stable")
    starts_L = np.flatnonzero(np.diff(level_B[order_B], prepend=-1))
    sorted_RB = weights_RB[:, order_B]
    # Where all scores differ, levels are single texts and the sums over a level are the texts themselves.
    positives_RL = np.add.reduceat(sorted_RB * positive[order_B], starts_L, axis=1)
    negatives_RL = np.add.reduceat(sorted_RB * ~positive[order_B], starts_L, axis=1)
    below_RL = np.cumsum(negatives_RL, axis=1) - 0.5 * negatives_RL
    pairs_R = positives_RL.sum(axis=1) * negatives_RL.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((positives_RL * below_RL).sum(axis=1) / pairs_R, dtype=np.float64)


def weighted_macro_roc_auc(outcomes: Outcomes, weights_RB: FloatArray) -> FloatArray:
    """[R] macro one-vs-rest AUC under each weighting of the texts."""
    per_class = [
        weighted_roc_auc(outcomes.label_B == index, outcomes.probabilities_BC[:, index], weights_RB)
        for index in range(outcomes.num_labels)
    ]
    return np.asarray(np.mean(per_class, axis=0), dtype=np.float64)
