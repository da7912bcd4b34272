"""What difference a study can show, before it runs: by its seeds, how far they scatter, and its test texts."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from glotune.stats.contrasts import MOST_SEEDS, POWER, Contrast
from glotune.stats.resampling import LEVEL


def least_difference(found: Contrast, level: float = LEVEL) -> float:
    """The difference that an interval as wide as this one's would exclude 0 for with a chance of 80 %."""
    deviation = np.sqrt(found.seed_variance + found.text_variance)
    return float(found.half_width(level) + NormalDist().inv_cdf(POWER) * deviation)


def planned_difference(seeds: int, seed_spread: float, text_variance: float, level: float = LEVEL) -> float:
    """The same for two variants that are yet to be run.

    Args:
        seeds: of each variant, at least two.
        seed_spread: standard deviation over seeds of each.
        text_variance: of their difference, over test texts.
        level: of the interval.
    """
    spread = 2.0 * seed_spread**2 / seeds
    planned = (np.float64(value) for value in (0.0, spread, 2.0 * (seeds - 1), text_variance, np.inf))
    return least_difference(Contrast(*map(np.asarray, planned)), level)


def seeds_for(difference: float, seed_spread: float, text_variance: float, level: float = LEVEL) -> int | None:
    """Seeds of each variant that can show a difference; None where `MOST_SEEDS` can't, for want of test texts."""
    enough = (
        seeds
        for seeds in range(2, MOST_SEEDS + 1)
        if planned_difference(seeds, seed_spread, text_variance, level) <= difference
    )
    return next(enough, None)
