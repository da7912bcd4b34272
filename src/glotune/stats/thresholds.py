"""Decision thresholds for one class of several: tuned for a metric, for classes that the largest probability neglects.

Answered is the class whose probability is highest beside its threshold: argmax of p / t. With equal thresholds that is
the most probable class; of two classes, whose thresholds sum to 1, the second is answered where its probability is
above its own. Ratios rather than differences, because a rare class is weighed against its frequency then, as costs of
errors weigh it (Elkan 2001, "The Foundations of Cost-Sensitive Learning").

Texts that have weights count by them, as in the metric that is tuned for.

Shape letters: B texts, C classes, K candidates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glotune.stats.arrays import Outcomes
from glotune.stats.confusion import FloatArray, IntArray, count_metric
from glotune.stats.temperature import fit_threshold

FOLDS, LEAST_TEXTS = 5, 20
"""Of the texts that thresholds are cross-fitted on; fewer texts than this are not cut."""
SWEEPS = 10
"""Most rounds over the classes; the search seldom takes more than three."""
MOST_CANDIDATES, FEWEST_CANDIDATES, CELLS = 512, 16, 4_000_000
"""Thresholds that are tried for a class, as many as this many cells of confusion matrices hold."""
LEAST_GAIN, LEAST = 1e-12, 1e-6


def answers_at(probabilities_BC: FloatArray, thresholds_C: FloatArray) -> IntArray:
    """[B] the class whose probability is highest beside its threshold; the lower id on a tie."""
    return np.asarray((probabilities_BC / thresholds_C).argmax(axis=1), dtype=np.int64)


def tune_thresholds(outcomes: Outcomes, metric: str) -> FloatArray:
    """[C] the thresholds with the best metric on these texts; they sum to 1.

    Of two classes all are tried. Of more, each class in turn gets the best threshold beside the others' until nothing
    is gained: a local optimum, that is never worse on these texts than the most probable class.

    Raises:
        UserError: a metric that needs more than counts.
    """
    if outcomes.num_labels == 2:
        second = float(np.clip(fit_threshold(outcomes, metric).threshold, LEAST, 1.0 - LEAST))
        return np.array([1.0 - second, second])
    thresholds_C, best = np.full(outcomes.num_labels, 1.0 / outcomes.num_labels), -np.inf
    for _ in range(SWEEPS):
        before = best
        for label in range(outcomes.num_labels):
            thresholds_C[label], best = _best_for(outcomes, thresholds_C, label, metric)
        if best <= before + LEAST_GAIN:
            break
    return np.asarray(thresholds_C / thresholds_C.sum())


def _best_for(outcomes: Outcomes, thresholds_C: FloatArray, label: int, metric: str) -> tuple[float, float]:
    """The threshold of one class beside the others' that is best, the nearest to its own of equal ones; its value."""
    beside_BC = outcomes.probabilities_BC / thresholds_C
    beside_BC[:, label] = -np.inf
    other_B = beside_BC.argmax(axis=1)
    # The class is answered where its threshold is below this.
    below_B = outcomes.probabilities_BC[:, label] / np.maximum(beside_BC.max(axis=1), LEAST)
    candidates_K = _candidates(below_B, float(thresholds_C[label]), outcomes.num_labels)
    confusion_KCC = _confusions(outcomes, other_B, np.searchsorted(candidates_K, below_B), label, candidates_K)
    values_K = count_metric(metric)(confusion_KCC)
    best_K = np.flatnonzero(values_K >= values_K.max() - LEAST_GAIN)
    chosen = best_K[np.abs(np.log(candidates_K[best_K] / thresholds_C[label])).argmin()]
    return float(candidates_K[chosen]), float(values_K[chosen])


def _candidates(below_B: FloatArray, own: float, num_labels: int) -> FloatArray:
    """[K] the class's own threshold and others between the texts' levels, ascending."""
    levels = np.unique(np.maximum(below_B, LEAST))
    between = np.sqrt(levels[:-1] * levels[1:])
    most = int(np.clip(CELLS // num_labels**2, FEWEST_CANDIDATES, MOST_CANDIDATES))
    if len(between) > most:
        between = between[np.linspace(0, len(between) - 1, most).round().astype(np.int64)]
    return np.unique(np.append(between, own))


def _confusions(
    outcomes: Outcomes, other_B: IntArray, place_B: IntArray, label: int, candidates_K: FloatArray
) -> FloatArray:
    """[K, C, C] the texts' weights under each candidate: texts at a place beyond it are answered with the class, others
    with `other_B`."""
    size, num_labels = len(candidates_K), outcomes.num_labels
    left_KCC = np.zeros((size + 1, num_labels, num_labels))
    np.add.at(left_KCC, (place_B, outcomes.label_B, other_B), outcomes.weights_B)
    found_KCC = np.cumsum(left_KCC, axis=0)[:size]
    taken_KC = left_KCC.sum(axis=2)
    found_KCC[:, :, label] += taken_KC.sum(axis=0) - np.cumsum(taken_KC, axis=0)[:size]
    return np.asarray(found_KCC)


def cross_folds(size: int, group_B: NDArray[np.integer] | None = None) -> IntArray | None:
    """[B] the fifth that each text is in, a seeded shuffle of groups: the same texts give the same; None for few texts.

    Args:
        group_B: equal for texts that are to share a fold; None: each for itself.
    """
    if size < LEAST_TEXTS:
        return None
    group = np.arange(size) if group_B is None else np.unique(group_B, return_inverse=True)[1]
    return np.asarray((np.random.default_rng(0).permutation(int(group.max()) + 1) % FOLDS)[group], dtype=np.int64)


def cross_fitted_classes(outcomes: Outcomes, metric: str, group_B: NDArray[np.integer] | None = None) -> IntArray:
    """[B] the answers to each fifth of the texts by the thresholds that the others fit; for few texts by their own.

    Args:
        group_B: as for `cross_folds`.
    """
    fold_B = cross_folds(outcomes.num_texts, group_B)
    if fold_B is None:
        return answers_at(outcomes.probabilities_BC, tune_thresholds(outcomes, metric))
    answer_B = np.empty(outcomes.num_texts, dtype=np.int64)
    for fold in np.unique(fold_B):
        inside_B = fold_B == fold
        others_C = tune_thresholds(outcomes.at(~inside_B), metric)
        answer_B[inside_B] = answers_at(outcomes.probabilities_BC[inside_B], others_C)
    return answer_B
