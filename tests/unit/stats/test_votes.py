"""Annotators' votes beside a model's answers: distances, agreement and its ceiling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from glotune.errors import UserError
from glotune.stats.arrays import Outcomes, outcomes
from glotune.stats.bootstrap import interval_metrics_of, score_intervals
from glotune.stats.temperature import fit_temperature
from glotune.stats.votes import ceilings, js_distances


def answered(texts: int = 60, classes: int = 3, seed: int = 0) -> Outcomes:
    rng = np.random.default_rng(seed)
    votes = rng.multinomial(5, rng.dirichlet(np.ones(classes)), size=texts).astype(float)
    probabilities = rng.dirichlet(np.ones(classes), texts)
    shares = votes / 5
    losses = -(shares * np.log(probabilities)).sum(axis=1)
    return outcomes(votes.argmax(axis=1), probabilities, losses, None, votes)


def test_distances_are_scipys() -> None:
    found = answered()
    assert js_distances(found) == pytest.approx(
        jensenshannon(found.probabilities_BC, found.shares_BC, base=2, axis=1), abs=1e-12
    )


def test_each_annotator_is_held_against_most_of_the_others() -> None:
    """By hand: of 3 votes for a and 1 for b, the three see most others agree, the one does not."""
    votes = [[3.0, 1.0], [2.0, 0.0], [1.0, 1.0], [2.0, 1.0], [1.0, 0.0], [0.6, 0.4]]
    found = outcomes([0] * 6, [[0.9, 0.1]] * 6, None, None, votes)
    # Of 2 and 1, each of the two sees the other two tied: half a hit each. A tie of 1 and 1 sees only the other side.
    assert ceilings(found).tolist()[:4] == pytest.approx([3 / 4, 1.0, 0.0, 1 / 3])
    assert np.isnan(ceilings(found)[4:]).all(), "one annotator, and shares in the place of votes, leave nobody out"
    assert found.tied == 1
    values = found.values()
    assert values["agreement"] == pytest.approx(np.mean([0.75, 1.0, 0.5, 2 / 3, 1.0, 0.6]))
    assert values["agreement_ceiling"] == pytest.approx(np.mean([0.75, 1.0, 0.0, 1 / 3]))


def test_values_have_intervals_and_draw_clusters_whole() -> None:
    found = answered()
    names = interval_metrics_of(found)
    assert {"js_distance", "agreement", "agreement_ceiling"} <= set(names)
    alone = score_intervals(found, names, seed=0, resamples=400)
    twice = outcomes(
        np.tile(found.label_B, 2), np.tile(found.probabilities_BC, (2, 1)), None, np.tile(np.arange(60), 2),
        np.tile(found.votes_BC, (2, 1)),
    )  # fmt: skip
    copied = score_intervals(twice, ["agreement", "js_distance"], seed=0, resamples=400)
    for name in copied:
        width, other = (each[name].high - each[name].low for each in (alone, copied))
        assert other == pytest.approx(width, rel=0.1), "a copied text is no further evidence"
        assert alone[name].low < float(found.values()[name] or 0) < alone[name].high


def test_without_votes_nothing_is_said_of_them() -> None:
    found = outcomes([0, 1], [[0.9, 0.1], [0.2, 0.8]], [0.1, 0.2])
    assert not {"js_distance", "agreement"} & set(found.values())
    with pytest.raises(UserError, match="metric 'agreement'"):
        found.statistic("agreement")


@pytest.mark.parametrize("votes", [[[1.0, 0.0], [0.0, 0.0]], [[1.0, -1.0], [2.0, 0.0]], [[1.0], [2.0]]])
def test_records_without_votes_are_refused(votes: list[list[float]]) -> None:
    with pytest.raises(UserError, match="votes of shape"):
        outcomes([0, 0], [[0.9, 0.1]] * 2, None, None, votes)


def test_a_temperature_is_fitted_to_the_distribution() -> None:
    """Answers that are always right and as unsure as the annotators keep their temperature."""
    shares = np.array([[0.8, 0.2], [0.4, 0.6]] * 20)
    fit = fit_temperature(outcomes(shares.argmax(axis=1), shares, None, None, shares * 5))
    assert fit.temperature == pytest.approx(1.0, abs=1e-3)
    assert fit.reason is None
    sharper = shares**2 / (shares**2).sum(axis=1, keepdims=True)
    assert fit_temperature(outcomes(shares.argmax(axis=1), sharper, None, None, shares * 5)).temperature == (
        pytest.approx(2.0, abs=1e-2)
    )
