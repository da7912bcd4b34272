"""What the lead of the best of many shrinks to.

The best of eight equal variants leads: it is the one that seeds and texts were kindest to. Choosing it again in each
resample of texts and seeds, and scoring every choice by the runs as they are, shows how much of a lead choosing alone
makes; that much is taken off (the bootstrap bias correction of Tsamardinos, Greasidou and Borboudakis 2018,
"Bootstrapping the out-of-sample predictions for efficient and accurate cross-validation", with the optimism of Efron
1983). Over one seed of each variant only the texts are drawn, which takes off less than it should.

Shape letters: V variants, S seeds, N clusters of texts, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glotune.stats.confusion import FloatArray

RESAMPLES = 500
FEWEST_VARIANTS = 3
"""Between two variants nothing is chosen that their difference does not say."""


def shrunken_lead(
    values_VS: Sequence[Sequence[float]], pulls_VN: FloatArray, *, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """The lead of the best over the mean of the others, as measured and without what choosing it added.

    Args:
        values_VS: scores by seed, higher is better.
        pulls_VN: how far each cluster of texts pulls the score of a variant (`glotune.stats.seed_scores.text_pulls`).
        seed: of the draws.
        resamples: R.

    Returns:
        None for fewer than three variants.
    """
    if len(values_VS) < FEWEST_VARIANTS:
        return None
    rng = np.random.default_rng(seed)
    mean_V = np.array([np.mean(values) for values in values_VS])
    size = pulls_VN.shape[1]
    weights_RN = rng.multinomial(size, np.full(size, 1.0 / size), size=resamples) - 1.0
    noise_RV = weights_RN @ pulls_VN.T
    for place, values in enumerate(values_VS):
        own_S = np.asarray(values, dtype=np.float64)
        if len(own_S) > 1:  # S values drawn from S scatter by (S - 1) / S of their variance
            drawn_R = own_S[rng.integers(len(own_S), size=(resamples, len(own_S)))].mean(axis=1) - own_S.mean()
            noise_RV[:, place] += drawn_R * np.sqrt(len(own_S) / (len(own_S) - 1.0))
    measured = _lead(mean_V, int(mean_V.argmax()))
    drawn_RV = mean_V + noise_RV
    chosen_R = drawn_RV.argmax(axis=1)
    optimism = np.mean(
        [_lead(drawn_V, best) - _lead(mean_V, best) for drawn_V, best in zip(drawn_RV, chosen_R, strict=True)]
    )
    return measured, max(0.0, measured - float(optimism))


def _lead(mean_V: FloatArray, best: int) -> float:
    return float(mean_V[best] - np.delete(mean_V, best).mean())
