"""Tests of whether two models differ on the same texts, and corrections for many of them.

All are about the texts: they ask whether other texts would show the same difference between
these two trained models. Other seeds are the business of `glotune.stats.contrasts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from glotune.stats.arrays import Answered, Outcomes
from glotune.stats.bootstrap import check_same_texts
from glotune.stats.clusters import common_numbers
from glotune.stats.confusion import FloatArray, IntArray, count_metric, is_count_metric
from glotune.stats.count_bootstrap import kinds_of
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
    metric: str,
    first: Mapping[str, Outcomes],
    second: Mapping[str, Outcomes],
    *,
    seed: int,
    permutations: int = PERMUTATIONS,
) -> float:
    """Two-sided p-value: is the mean difference over languages larger than when answers are swapped at random?

    Approximate randomisation (Noreen 1989), exact in its level for any count metric. What is swapped is a text, or a
    cluster of texts that belong together. Clusters that both models answered alike are of one kind, so the random
    swap of each is one binomial draw.

    Raises:
        UserError: the two don't hold the same texts, or the metric needs more than counts.
    """
    pairs = [(first[language], second[language]) for language in first]
    for one, other in pairs:
        check_same_texts(one, other)
    numbers, _ = common_numbers([one.cluster_B for one, _ in pairs], [one.num_texts for one, _ in pairs])
    kinds = kinds_of([part for pair in pairs for part in pair], [each for each in numbers for _ in range(2)])
    value, num_labels = count_metric(metric), pairs[0][0].num_labels
    rng = np.random.default_rng(seed)
    swapped_RK = rng.binomial(kinds.counts_K.astype(np.int64), 0.5, size=(permutations, len(kinds.counts_K)))

    def difference(swapped_RK: FloatArray) -> FloatArray:
        kept_RK, total_R = kinds.counts_K - swapped_RK, np.zeros(len(swapped_RK))
        for one, other in zip(kinds.cells[::2], kinds.cells[1::2], strict=True):
            for mine, others, sign in ((one, other, 1.0), (other, one, -1.0)):
                flat = kept_RK @ mine + swapped_RK @ others
                total_R += sign * value(flat.reshape(-1, num_labels, num_labels))
        return total_R / len(pairs)

    observed = abs(float(difference(np.zeros((1, len(kinds.counts_K))))[0]))
    as_large = np.abs(difference(swapped_RK.astype(np.float64))) >= observed - 1e-12
    return float((1 + np.count_nonzero(as_large)) / (1 + permutations))


def exact_or_bootstrap(
    metric: str, first: Mapping[str, Answered], second: Mapping[str, Answered], difference: Resampled, *, seed: int
) -> tuple[float, str]:
    """The p-value of the strictest test that a metric allows, and its name, for two models on the same texts.

    McNemar's for the accuracy on texts that stand for themselves, the permutation test for other scores of counts of
    one class, the bootstrap's for scores of probabilities, of several labels, of numbers and of weighted texts.

    Raises:
        UserError: the two don't hold the same texts.
    """
    ours = {name: each for name, each in first.items() if isinstance(each, Outcomes)}
    theirs = {name: each for name, each in second.items() if isinstance(each, Outcomes)}
    if not ours or not is_count_metric(metric) or not all(each.counts_alike for each in ours.values()):
        return bootstrap_test(difference), "the bootstrap"
    ((language, alone),) = ours.items() if len(ours) == 1 else ((None, None),)
    if metric == "accuracy" and language is not None and alone is not None and alone.cluster_B is None:
        return mcnemar_exact(alone, theirs[language]), "McNemar's exact test"
    return permutation_test(metric, ours, theirs, seed=seed), "a permutation test"


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
