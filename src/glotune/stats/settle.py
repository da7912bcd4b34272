"""How many more seeds would settle a claim."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from glotune.stats.contrasts import Contrast

MOST_SEEDS = 200
POWER = 0.8


def seeds_to_settle(found: Contrast, seeds_G: Sequence[int], threshold: float, level: float) -> int | None:
    """More seeds of each group until the interval excludes the threshold with a chance of 80 %.

    Takes the measured estimate and variances for the truth: with few seeds a rough figure. The
    variance from the texts stays, whatever the number of seeds.

    Args:
        found: the contrast as measured.
        seeds_G: seeds of each group now.
        threshold: of the claim, on the scale of the contrast.
        level: at which the claim was tested.

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
