"""Area under the ROC curve, one class against the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from glotune.stats.arrays import Outcomes
from glotune.stats.confusion import FloatArray


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
