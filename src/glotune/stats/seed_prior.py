"""Borrowing the spread over seeds from the other variants of a study.

Three seeds say little about how far seeds scatter: a variance with two degrees of freedom. The variants of a study
are alike, so their variances are taken for draws from one scaled inverse chi-square distribution, whose two
parameters are fitted to all of them, and each variant's own variance is drawn towards the common one (Smyth 2004,
"Linear models and empirical Bayes methods", the moderated t of limma). As there, a contrast never has more degrees
of freedom than all variants have together.

Its failure is a variant that scatters more than the others: they lend it a certainty that it does not have. So a
variant whose own variance lies beyond what the common one explains keeps its own. What is left of the failure, a
noisy variant whose few seeds happen to agree, tests/simulation states.

Shape letters: V variants, S seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from glotune.stats.confusion import FloatArray

FEWEST_VARIANTS = 4
"""With fewer variances nothing can be said about how they scatter."""
KEPT_BEYOND = 0.85
"""Quantile of the variances that the prior expects beyond which a variant keeps its own."""
_SMALLEST = 1e-2
"""Share of the median below which a variance counts as that much: seeds that agree by luck have no logarithm."""


@dataclass(frozen=True)
class SeedPrior:
    """The common variance over seeds.

    Attributes:
        variance: of one seed.
        df: degrees of freedom that it is worth beside a variant's own; infinite where all variants scatter alike.
        total_df: of all variants together.
        variants: how many it was learned from.
    """

    variance: float
    df: float
    total_df: float
    variants: int

    def moderated(self, variance_G: ArrayLike, seeds_G: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Each group's variance drawn towards the common one, and its degrees of freedom."""
        from scipy.special import fdtri

        own_G, df_G = np.asarray(variance_G, dtype=np.float64), np.asarray(seeds_G, dtype=np.float64) - 1.0
        if np.isinf(self.df):
            drawn_G, drawn_df_G = np.full_like(own_G, self.variance), np.full_like(own_G, self.total_df)
        else:
            drawn_G = (self.df * self.variance + df_G * own_G) / (self.df + df_G)
            drawn_df_G = np.minimum(self.df + df_G, self.total_df)
        beyond_G = own_G > self.variance * fdtri(df_G, min(self.df, self.total_df), KEPT_BEYOND)
        return np.where(beyond_G, own_G, drawn_G), np.where(beyond_G, df_G, drawn_df_G)


def seed_prior(values_VS: Sequence[Sequence[float]]) -> SeedPrior | None:
    """The prior of a study's variants by their values per seed; None where too few have two seeds or all agree.

    Moments of the log variances, equations 4 to 6 of Smyth 2004.
    """
    from scipy.special import digamma, polygamma

    known = [values for values in values_VS if len(values) > 1]
    variance_V = np.array([np.var(values, ddof=1) for values in known])
    df_V = np.array([len(values) - 1.0 for values in known])
    if len(known) < FEWEST_VARIANTS or not np.median(variance_V) > 0:
        return None
    variance_V = np.maximum(variance_V, _SMALLEST * np.median(variance_V))
    centred_V = np.log(variance_V) - digamma(df_V / 2) + np.log(df_V / 2)
    excess = float(np.var(centred_V, ddof=1) - polygamma(1, df_V / 2).mean())
    total = float(df_V.sum())
    if excess <= 0:
        return SeedPrior(float(np.sum(variance_V * df_V) / total), np.inf, total, len(known))
    df = 2.0 * _inverse_trigamma(excess)
    variance = float(np.exp(centred_V.mean() + digamma(df / 2) - np.log(df / 2)))
    return SeedPrior(variance, df, total, len(known))


def _inverse_trigamma(value: float) -> float:
    """x with trigamma(x) = value, by the Newton iteration of Smyth's appendix."""
    from scipy.special import polygamma

    found = 0.5 + 1.0 / value
    for _ in range(50):
        slope = float(polygamma(1, found))
        step = slope * (1.0 - slope / value) / float(polygamma(2, found))
        found += step
        if -step / found < 1e-8:
            break
    return found
