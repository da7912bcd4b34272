"""Bootstrap of scores that need only counts, by resampling the counts.

Resampling n texts with replacement gives multinomial counts over the cells (true label,
predicted label), or (true, predicted by one model, predicted by the other), so 2,000
resamples of any number of texts cost 2,000 draws over the cells that are not empty.

Shape letters: R resamples, K non-empty cells, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from glotune.stats.arrays import Outcomes
from glotune.stats.confusion import FloatArray, IntArray, count_metric
from glotune.stats.resampling import FEW, RESAMPLES, Resampled, jackknife_moments

Statistic = Callable[[FloatArray], FloatArray]
"""Counts [..., K] over the cells -> the number [...]."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Texts counted by cell, with the prior of the posterior that few errors call for.

    Attributes:
        counts_K: texts in each cell.
        prior_K: prior mass of each cell; a mass of 1/2 on each side of what is being counted.
        errors: texts on the rarer side (wrong or right; or discordant between two models).
    """

    counts_K: FloatArray
    prior_K: FloatArray
    errors: int

    def resample(self, statistics: dict[str, Statistic], resamples: int, seed: Sequence[int]) -> dict[str, Resampled]:
        """Every statistic under the same draws."""
        rng = np.random.default_rng(list(seed))
        total = int(self.counts_K.sum())
        draws_RK = rng.multinomial(total, self.counts_K / total, size=resamples).astype(np.float64)
        posterior_RK = self._posterior(resamples, rng) if self.errors < FEW else None
        kinds = np.flatnonzero(self.counts_K > 0)
        left_out_KK = np.repeat(self.counts_K[None], len(kinds), axis=0)
        left_out_KK[np.arange(len(kinds)), kinds] -= 1.0
        results = {}
        for name, statistic in statistics.items():
            variance, third = jackknife_moments(statistic(left_out_KK), self.counts_K[kinds])
            results[name] = Resampled(
                estimate=float(statistic(self.counts_K)),
                draws_R=statistic(draws_RK),
                variance=variance,
                third_moment=third,
                posterior_R=None if posterior_RK is None else statistic(posterior_RK),
            )
        return results

    def _posterior(self, resamples: int, rng: np.random.Generator) -> FloatArray:
        gammas_RK = rng.standard_gamma(self.counts_K + self.prior_K, size=(resamples, len(self.counts_K)))
        return np.asarray(gammas_RK / gammas_RK.sum(axis=1, keepdims=True), dtype=np.float64)


def resample_counts(
    confusion_CC: IntArray, metrics: Sequence[str], *, seed: Sequence[int], resamples: int = RESAMPLES
) -> dict[str, Resampled]:
    """Bootstrap metrics of one confusion matrix.

    Args:
        confusion_CC: counts, rows the truth.
        metrics: names of `glotune.stats.confusion.COUNT_METRICS`.
        seed: words that seed the draws, e.g. ``(0, language index)``.
        resamples: R.
    """
    num_labels = len(confusion_CC)
    # A class that no text has stays absent: its F1 is 0 by convention, not a guess of the prior.
    present_CC = np.broadcast_to(confusion_CC.sum(axis=1, keepdims=True) > 0, confusion_CC.shape)
    right_CC = np.eye(num_labels, dtype=bool)
    prior_CC = _half_mass(present_CC & right_CC) + _half_mass(present_CC & ~right_CC)
    right = int(np.trace(confusion_CC))
    cells = Cells(
        counts_K=confusion_CC.astype(np.float64).ravel(),
        prior_K=prior_CC.ravel(),
        errors=min(right, int(confusion_CC.sum()) - right),
    )
    return cells.resample({name: _of_matrix(name, num_labels) for name in metrics}, resamples, seed)


def resample_paired_counts(
    metric: str, first: Outcomes, second: Outcomes, *, seed: Sequence[int], resamples: int = RESAMPLES
) -> Resampled:
    """Bootstrap `first` minus `second` of one metric over the same texts, resampled together."""
    num_labels = first.num_labels
    code_B = (first.label_B * num_labels + first.prediction_B) * num_labels + second.prediction_B
    label_G, first_G, second_G = np.indices((num_labels,) * 3).reshape(3, -1)
    present_G = np.isin(label_G, first.label_B)
    first_only_G = present_G & (first_G == label_G) & (second_G != label_G)
    second_only_G = present_G & (first_G != label_G) & (second_G == label_G)
    counts_G = np.bincount(code_B, minlength=len(label_G)).astype(np.float64)
    discordant = int(counts_G[first_only_G | second_only_G].sum())
    # Cells that no text fills matter only to the posterior; leave them out where there is none.
    kept_K = counts_G > 0 if discordant >= FEW else (counts_G > 0) | first_only_G | second_only_G
    prior_G = _half_mass(first_only_G) + _half_mass(second_only_G)
    cells = Cells(counts_G[kept_K], prior_G[kept_K], discordant)

    value = count_metric(metric)
    first_KK = _to_matrix(label_G[kept_K], first_G[kept_K], num_labels)
    second_KK = _to_matrix(label_G[kept_K], second_G[kept_K], num_labels)

    def difference(counts: FloatArray) -> FloatArray:
        shape = (*counts.shape[:-1], num_labels, num_labels)
        return value((counts @ first_KK).reshape(shape)) - value((counts @ second_KK).reshape(shape))

    return cells.resample({metric: difference}, resamples, seed)[metric]


def _half_mass(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> FloatArray:
    return mask.astype(np.float64) * (0.5 / max(1, int(np.count_nonzero(mask))))


def _of_matrix(name: str, num_labels: int) -> Statistic:
    metric = count_metric(name)
    return lambda counts: metric(counts.reshape(*counts.shape[:-1], num_labels, num_labels))


def _to_matrix(true_K: IntArray, predicted_K: IntArray, num_labels: int) -> FloatArray:
    """[K, C * C] sends counts over cells to a flat confusion matrix."""
    matrix = np.zeros((len(true_K), num_labels**2))
    matrix[np.arange(len(true_K)), true_K * num_labels + predicted_K] = 1.0
    return matrix
