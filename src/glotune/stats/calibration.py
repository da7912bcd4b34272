"""How far a stated confidence is from the accuracy that it promises.

Bins are equal in width and open below, (m / M, (m + 1) / M], as in Guo et al. 2017, "On
Calibration of Modern Neural Networks", equation 3; confidence is the largest probability.

The error of a perfectly calibrated model is not 0: in a bin of few texts the share that is right lies off what is
expected by chance (Roelofs et al. 2022, "Mitigating Bias in Calibration Error Estimation"). `chance_error` says by how
much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glotune.stats.arrays import Outcomes
from glotune.stats.confusion import FloatArray, IntArray, ratio

NUM_BINS = 15
CHUNK = 1 << 16
"""Texts that are worked on together: each has a row of `NUM_BINS` numbers meanwhile."""


@dataclass(frozen=True)
class ReliabilityBin:
    """One bar of a reliability diagram; confidence and accuracy are None where it holds no text."""

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


def confidence_bins(confidence_B: FloatArray, num_bins: int = NUM_BINS) -> IntArray:
    """[B] the bin of each confidence, 0 .. num_bins - 1."""
    upper_edge = np.ceil(confidence_B * num_bins).astype(np.int64)
    return np.clip(upper_edge - 1, 0, num_bins - 1)


def weighted_ece(outcomes: Outcomes, weights_RB: FloatArray, num_bins: int = NUM_BINS) -> FloatArray:
    """[R] expected calibration error of each weighting of the texts: sum |correct - confidence| / B per bin."""
    gap_RM = np.zeros((len(weights_RB), num_bins))
    for start in range(0, outcomes.num_texts, CHUNK):
        part = slice(start, start + CHUNK)
        gap_RM += weights_RB[:, part] @ _gap_in_bin(outcomes, part, num_bins)
    return ratio(np.abs(gap_RM).sum(axis=1), weights_RB.sum(axis=1))


def _gap_in_bin(outcomes: Outcomes, part: slice, num_bins: int) -> FloatArray:
    """[B, M] of a part of the texts: correct less confidence in the bin of each, 0 in the others."""
    confidence_B = outcomes.probabilities_BC[part].max(axis=1)
    gap_B = (outcomes.most_probable_B[part] == outcomes.label_B[part]) - confidence_B
    gap_in_bin_BM = np.zeros((len(gap_B), num_bins))
    gap_in_bin_BM[np.arange(len(gap_B)), confidence_bins(confidence_B, num_bins)] = gap_B
    return gap_in_bin_BM


def expected_calibration_error(outcomes: Outcomes, num_bins: int = NUM_BINS) -> float:
    """0 for a model that is right as often as it says."""
    return float(weighted_ece(outcomes, np.ones((1, outcomes.num_texts)), num_bins)[0])


def chance_error(outcomes: Outcomes, num_bins: int = NUM_BINS) -> float:
    """The expected calibration error that these confidences would show, on average, if they were right.

    Every text is then right with the probability that it states (consistency resampling, Broecker and Smith 2007,
    "Increasing the Reliability of Reliability Diagrams"); instead of drawing, a bin of k texts with mean confidence p
    has the mean absolute deviation of a binomial, 2 v (1 - p) P(X = v) with v = floor(k p) + 1 (de Moivre 1730;
    Diaconis and Zabell 1991). That confidences differ within a bin changes it by less than 1 %.
    """
    from scipy.stats import binom

    confidence_B = outcomes.probabilities_BC.max(axis=1)
    bin_B = confidence_bins(confidence_B, num_bins)
    count_M = np.bincount(bin_B, minlength=num_bins)
    mean_M = ratio(np.bincount(bin_B, confidence_B, num_bins), count_M.astype(np.float64))
    mean_M = np.clip(mean_M, 0.0, 1.0)
    above_M = np.floor(count_M * mean_M) + 1
    deviation_M = 2.0 * above_M * (1.0 - mean_M) * binom.pmf(above_M, count_M, mean_M)
    return float(deviation_M.sum() / max(1, outcomes.num_texts))


def reliability(outcomes: Outcomes, num_bins: int = NUM_BINS) -> tuple[ReliabilityBin, ...]:
    """The bars of a reliability diagram, from low to high confidence, empty ones too."""
    confidence_B = outcomes.probabilities_BC.max(axis=1)
    correct_B = outcomes.most_probable_B == outcomes.label_B
    bin_B = confidence_bins(confidence_B, num_bins)
    bars = []
    for index in range(num_bins):
        inside_B = bin_B == index
        count = int(inside_B.sum())
        bars.append(
            ReliabilityBin(
                low=index / num_bins,
                high=(index + 1) / num_bins,
                n=count,
                confidence=float(confidence_B[inside_B].mean()) if count else None,
                accuracy=float(correct_B[inside_B].mean()) if count else None,
            )
        )
    return tuple(bars)
