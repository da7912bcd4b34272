"""From the probability of each of several labels to yes or no: the thresholds with the best F1.

Shape letters: B and N texts, L labels, K candidates for a threshold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glotune.stats.confusion import FloatArray, IntArray, ratio
from glotune.stats.label_sets import BLANK
from glotune.stats.thresholds import cross_folds


def fit_thresholds(label_BL: IntArray, probability_BL: FloatArray) -> FloatArray:
    """[L] for each label the threshold with the best F1 on these texts, in the middle between two probabilities.

    Of equal ones the nearest to 1/2; 1/2 for a label that no text here has. A label is answered where its probability
    is at least its threshold.
    """
    found_L = np.full(label_BL.shape[1], 0.5)
    for place in range(label_BL.shape[1]):
        known_B = label_BL[:, place] != BLANK
        positive_N, score_N = label_BL[known_B, place] == 1, probability_BL[known_B, place]
        if positive_N.any():
            found_L[place] = _best_threshold(positive_N, score_N)
    return found_L


def _best_threshold(positive_N: NDArray[np.bool_], score_N: FloatArray) -> float:
    levels = np.unique(score_N)
    candidates_K = np.concatenate([[0.5], (levels[:-1] + levels[1:]) / 2, levels[:1] / 2])
    below_K = np.searchsorted(np.sort(score_N[positive_N]), candidates_K, side="left")
    rejected_K = np.searchsorted(np.sort(score_N[~positive_N]), candidates_K, side="left")
    found_K = positive_N.sum() - below_K
    false_K = (~positive_N).sum() - rejected_K
    f1_K = ratio(2.0 * found_K, 2.0 * found_K + false_K + below_K)
    best = candidates_K[f1_K >= f1_K.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])


def cross_fitted_answers(
    label_BL: IntArray, probability_BL: FloatArray, group_B: NDArray[np.integer] | None = None
) -> NDArray[np.bool_]:
    """[B, L] the answers to each fifth of the texts by the thresholds that the others fit; for few texts by their own.

    Args:
        group_B: as for `glotune.stats.thresholds.cross_folds`.
    """
    fold_B = cross_folds(len(label_BL), group_B)
    if fold_B is None:
        return np.asarray(probability_BL >= fit_thresholds(label_BL, probability_BL))
    answers_BL = np.empty(label_BL.shape, dtype=np.bool_)
    for fold in np.unique(fold_B):
        inside_B = fold_B == fold
        thresholds_L = fit_thresholds(label_BL[~inside_B], probability_BL[~inside_B])
        answers_BL[inside_B] = probability_BL[inside_B] >= thresholds_L
    return answers_BL
