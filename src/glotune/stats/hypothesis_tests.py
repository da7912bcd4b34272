"""Tests of whether two models differ on the same texts, and corrections for many of them.

All are about the texts: they ask whether other texts would show the same difference between
these two trained models. Other seeds are the business of `glotune.stats.contrasts`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glotune.stats.arrays import Outcomes
from glotune.stats.bootstrap import check_same_texts
from glotune.stats.confusion import FloatArray, IntArray, count_metric
from glotune.stats.resampling import Resampled

PERMUTATIONS = 5000


def mcnemar_exact(first: Outcomes, second: Outcomes) -> float:
    """Two-sided p-value of McNemar's exact test: do the two models err on equally many texts?

    Raises:
        UserError: the two don't hold the same texts.
    """
    from scipy.stats import binomtest

    check_same_texts(first, second)
    first_right = first.prediction_B == first.label_B
    second_right = second.prediction_B == second.label_B
    only_first = int(np.count_nonzero(first_right & ~second_right))
    discordant = only_first + int(np.count_nonzero(second_right & ~first_right))
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def permutation_test(
    metric: str, first: Outcomes, second: Outcomes, *, seed: int, permutations: int = PERMUTATIONS
) -> float:
    """Two-sided p-value: is the difference larger than when the two models' answers are swapped at random?

    Approximate randomisation (Noreen 1989), exact in its level for any count metric. Texts with the
    same label and the same pair of answers are alike, so a random swap of each is one binomial draw.

    Raises:
        UserError: the two don't hold the same texts, or the metric needs more than counts.
    """
    check_same_texts(first, second)
    value, num_labels = count_metric(metric), first.num_labels
    triples = np.stack([first.label_B, first.prediction_B, second.prediction_B])
    (label_K, first_K, second_K), counts_K = np.unique(triples, axis=1, return_counts=True)
    rng = np.random.default_rng(seed)
    swapped_RK = rng.binomial(counts_K, 0.5, size=(permutations, len(counts_K))).astype(np.float64)
    kept_RK = counts_K - swapped_RK

    def difference(of_first: FloatArray, of_second: FloatArray) -> FloatArray:
        confusions = []
        for as_is, exchanged in ((first_K, second_K), (second_K, first_K)):
            flat = _gather(of_first, label_K * num_labels + as_is, num_labels)
            flat = flat + _gather(of_second, label_K * num_labels + exchanged, num_labels)
            confusions.append(value(flat.reshape(-1, num_labels, num_labels)))
        return confusions[0] - confusions[1]

    counts_1K = counts_K.astype(np.float64)[None]
    observed = abs(float(difference(counts_1K, np.zeros_like(counts_1K))[0]))
    as_large = np.abs(difference(kept_RK, swapped_RK)) >= observed - 1e-12
    return float((1 + np.count_nonzero(as_large)) / (1 + permutations))


def bootstrap_test(difference: Resampled) -> float:
    """Two-sided p-value of a difference from its bootstrap draws: twice the smaller tail beyond 0."""
    below = difference.share_at_or_below(0.0)
    return min(1.0, 2.0 * min(below, 1.0 - below))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values that hold the chance of any false positive among all (Holm 1979)."""
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    stepped = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    return _restored(np.minimum(stepped, 1.0), order)


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values that hold the expected share of false positives among the positives (1995)."""
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    scaled = raw[order] * len(raw) / np.arange(1, len(raw) + 1)
    return _restored(np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0), order)


def _restored(ordered: FloatArray, order: IntArray) -> tuple[float, ...]:
    adjusted = np.empty_like(ordered)
    adjusted[order] = ordered
    return tuple(adjusted.tolist())


def _gather(counts_RK: FloatArray, cell_K: IntArray, num_labels: int) -> FloatArray:
    """[R, C * C] counts summed into the cells of a confusion matrix."""
    into_KC = np.zeros((len(cell_K), num_labels**2))
    into_KC[np.arange(len(cell_K)), cell_K] = 1.0
    return np.asarray(counts_RK @ into_KC, dtype=np.float64)
