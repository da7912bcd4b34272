"""Comparing variants over seeds and texts at once: a contrast and its interval.

A contrast is a weighted sum of group means: candidate minus reference, or a difference of
differences. Two things could have come out otherwise, the seeds (few) and the test texts (many),
so its variance has two parts:

    seeds   sum_g w_g^2 s_g^2 / S_g    with the degrees of freedom of Welch and Satterthwaite
    texts   from the jackknife, shared by all runs because they answer the same texts

Resampling 3 to 5 seeds understates their spread (a percentile bootstrap over 3 seeds covers about
80 %, see tests/simulation). Adding both parts and taking one t quantile is too bold when few noisy
seeds meet many texts (3.8 % false support per side instead of 2.5 %). Each part therefore keeps its
own quantile: half width = sqrt(t_seeds^2 V_seeds + t_texts^2 V_texts), the form of Graybill and
Wang 1980 for sums of variances.

It assumes seeds that scatter roughly normally. Where one group is much noisier and strongly skewed,
three seeds can't show it, and nothing computed from them is safe: the false support rises to about 6 %.

Shape letters: G groups, S seeds; a leading batch of contrasts is allowed everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from glotune.errors import UserError
from glotune.stats.confusion import FloatArray, ratio
from glotune.stats.seed_prior import SeedPrior

SMALLEST_P = 1e-12
MOST_SEEDS = 200
"""Most seeds to add to a group that are looked at for settling a claim."""
POWER = 0.8


@dataclass(frozen=True, eq=False)
class Contrast:
    """One contrast, or a batch of them; every attribute is an array of the batch's shape.

    Attributes:
        estimate: the weighted sum of group means.
        seed_variance: the part of its variance that comes from the seeds.
        seed_df: degrees of freedom of `seed_variance`.
        text_variance: the part that comes from the texts.
        text_df: degrees of freedom of `text_variance`.
    """

    estimate: FloatArray
    seed_variance: FloatArray
    seed_df: FloatArray
    text_variance: FloatArray
    text_df: FloatArray

    def half_width(self, level: ArrayLike) -> FloatArray:
        """Half the width of the two-sided interval at a level."""
        from scipy.special import stdtrit  # the t quantile, without the overhead of scipy.stats

        # After some twenty looks the level is 1 but for rounding: no quantile is infinite, times a variance of 0.
        upper = np.minimum(0.5 + np.asarray(level, dtype=np.float64) / 2.0, np.nextafter(1.0, 0.0))
        seeds = stdtrit(self.seed_df, upper) ** 2 * self.seed_variance
        texts = stdtrit(self.text_df, upper) ** 2 * self.text_variance
        return np.asarray(np.sqrt(seeds + texts), dtype=np.float64)

    def p_value(self, threshold: ArrayLike = 0.0) -> FloatArray:
        """Two-sided p-value against a threshold: 1 minus the level whose interval just reaches it."""
        distance = np.abs(self.estimate - np.asarray(threshold, dtype=np.float64))
        low, high = np.full(distance.shape, np.log(SMALLEST_P)), np.zeros(distance.shape)
        for _ in range(45):  # bisection on log p: half widths fall as p rises
            middle = (low + high) / 2
            reached = self.half_width(-np.expm1(middle)) < distance
            low, high = np.where(reached, low, middle), np.where(reached, middle, high)
        return np.asarray(np.where(distance == 0, 1.0, np.exp(high)), dtype=np.float64)


def contrast(
    mean_G: ArrayLike,
    variance_G: ArrayLike,
    seeds_G: ArrayLike,
    weights_G: ArrayLike,
    *,
    text_variance: ArrayLike = 0.0,
    text_df: ArrayLike = np.inf,
    prior: SeedPrior | None = None,
) -> Contrast:
    """Combine group means.

    Args:
        mean_G: mean over seeds of each group.
        variance_G: variance over seeds of each group, with S - 1 in the denominator.
        seeds_G: S of each group, at least 2.
        weights_G: e.g. ``[1, -1]``, or ``[1, -1, -1, 1]`` for a difference of differences.
        text_variance: of the contrast, see `glotune.stats.seed_scores`.
        text_df: its degrees of freedom.
        prior: the spread over seeds that the variants of a study share; None: each group stands for itself.

    Raises:
        UserError: a group of fewer than two seeds.
    """
    means, variances = np.asarray(mean_G, dtype=np.float64), np.asarray(variance_G, dtype=np.float64)
    seeds, weights = np.asarray(seeds_G, dtype=np.float64), np.asarray(weights_G, dtype=np.float64)
    if (seeds < 2).any():
        raise UserError(
            f"{int(seeds.min())} seed",
            expected="at least two seeds in each group",
            remedy="Run the study with 3 or more",
        )
    dfs = seeds - 1
    if prior is not None:
        variances, dfs = prior.moderated(variances, seeds)
    parts = weights**2 * variances / seeds
    seed_variance = parts.sum(axis=-1)
    spread = (parts**2 / dfs).sum(axis=-1)
    seed_df = np.where(spread > 0, ratio(seed_variance**2, spread), dfs.sum(axis=-1))
    if prior is not None:
        seed_df = np.minimum(seed_df, prior.total_df)
    estimate = (means * weights).sum(axis=-1)
    shape = estimate.shape
    return Contrast(
        estimate,
        seed_variance,
        seed_df,
        np.broadcast_to(np.asarray(text_variance, dtype=np.float64), shape),
        np.broadcast_to(np.asarray(text_df, dtype=np.float64), shape),
    )


def contrast_of_values(
    values_GS: Sequence[Sequence[float]],
    weights_G: Sequence[float],
    *,
    extra_variance_G: Sequence[float] | None = None,
    text_variance: float = 0.0,
    text_df: float = np.inf,
    prior: SeedPrior | None = None,
) -> Contrast:
    """Combine groups given by their values per seed; groups may differ in their number of seeds.

    Args:
        values_GS: one list of values for each group.
        weights_G: see `contrast`.
        extra_variance_G: added to the variance over seeds, e.g. for values that are rounded.
        text_variance: see `contrast`.
        text_df: see `contrast`.
        prior: see `contrast`.

    Raises:
        UserError: a group of fewer than two seeds.
    """
    seeds = [len(values) for values in values_GS]
    variances = [float(np.var(values, ddof=1)) if len(values) > 1 else np.nan for values in values_GS]
    extra = [0.0] * len(seeds) if extra_variance_G is None else extra_variance_G
    return contrast(
        [float(np.mean(values)) for values in values_GS],
        [variance + more for variance, more in zip(variances, extra, strict=True)],
        seeds,
        weights_G,
        text_variance=text_variance,
        text_df=text_df,
        prior=prior,
    )


def seeds_to_settle(found: Contrast, seeds_G: Sequence[int], threshold: float, level: float) -> int | None:
    """More seeds of each group until the interval excludes the threshold with a chance of 80 %.

    Takes the measured estimate and variances for the truth: with few seeds a rough figure. The
    variance from the texts stays, whatever the number of seeds.

    Args:
        found: the contrast as measured.
        seeds_G: seeds of each group now.
        threshold: of the claim, on the scale of the contrast.
        level: at which the claim will be tested then.

    Returns:
        The number to add to each group; None where `MOST_SEEDS` would not do: only more texts, or a
        larger effect, would.
    """
    distance = abs(float(found.estimate) - threshold)
    lucky = NormalDist().inv_cdf(POWER)
    # With equal numbers added, the share of each group in the seed variance shifts little: scale it whole.
    now = len(seeds_G) / sum(1.0 / count for count in seeds_G)
    more_M = np.arange(1, MOST_SEEDS + 1)
    scale_M = now / (now + more_M)
    later = Contrast(
        estimate=np.broadcast_to(found.estimate, scale_M.shape),
        seed_variance=found.seed_variance * scale_M,
        seed_df=found.seed_df * (now + more_M - 1) / max(1.0, now - 1),
        text_variance=np.broadcast_to(found.text_variance, scale_M.shape),
        text_df=np.broadcast_to(found.text_df, scale_M.shape),
    )
    needed_M = later.half_width(level) + lucky * np.sqrt(later.seed_variance + later.text_variance)
    enough = np.flatnonzero(needed_M < distance)
    return int(more_M[enough[0]]) if enough.size else None
