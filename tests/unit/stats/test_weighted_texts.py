"""Texts that count by weights of their own: a weight of 2 is two such texts, in values; in intervals it is one."""

from __future__ import annotations

import numpy as np
import pytest

from glotune.errors import UserError
from glotune.stats.arrays import Outcomes, outcomes
from glotune.stats.bootstrap import interval_metrics_of, paired_difference, score_intervals
from glotune.stats.seed_scores import run_score


def answered(texts: int = 80, seed: int = 0, *, votes: bool = False) -> tuple[Outcomes, Outcomes]:
    """The same answers with whole weights, and with each text as often as its weight says."""
    rng = np.random.default_rng(seed)
    votes_BC = rng.multinomial(4, [0.5, 0.3, 0.2], size=texts).astype(float)
    labels, probabilities = votes_BC.argmax(axis=1), rng.dirichlet(np.ones(3), texts)
    losses, weights = -np.log(probabilities[np.arange(texts), labels]), rng.integers(1, 4, texts)
    again = np.repeat(np.arange(texts), weights)
    whole = votes_BC if votes else None
    return (
        outcomes(labels, probabilities, losses, None, whole, None, weights),
        outcomes(labels[again], probabilities[again], losses[again], again, None if whole is None else whole[again]),
    )


@pytest.mark.parametrize("votes", [False, True])
def test_values_are_those_of_repeated_texts(votes: bool) -> None:
    weighted, repeated = answered(votes=votes)
    ours, theirs = weighted.values(), repeated.values()
    assert ours.keys() == theirs.keys()
    assert ours == pytest.approx(theirs)
    assert weighted.confusion_CC.sum() == 80, "a confusion matrix counts texts"


def test_a_weight_is_no_further_evidence() -> None:
    weighted, repeated = answered()
    names = interval_metrics_of(weighted)
    ours, theirs = (score_intervals(each, names, seed=0, resamples=500) for each in (weighted, repeated))
    for name in ("accuracy", "macro_f1", "loss"):
        widths = [each[name].high - each[name].low for each in (ours, theirs)]
        assert widths[0] == pytest.approx(widths[1], rel=0.2), name
        assert ours[name].low < float(weighted.values()[name] or 0) < ours[name].high


def test_comparisons_and_seeds_weigh_too() -> None:
    weighted, _ = answered()
    other, _ = answered()
    better = outcomes(other.label_B, np.eye(3)[other.label_B], other.loss_B, None, None, None, other.weight_B)
    difference = paired_difference("accuracy", better, weighted, seed=0, resamples=200)
    assert difference.estimate == pytest.approx(1.0 - float(weighted.values()["accuracy"] or 0))
    assert run_score({"en": weighted}, "macro_f1") == pytest.approx(weighted.values()["macro_f1"])
    plain = outcomes(other.label_B, other.probabilities_BC, other.loss_B)
    with pytest.raises(UserError, match="same texts"):
        paired_difference("accuracy", plain, weighted, seed=0)


@pytest.mark.parametrize("weights", [[1.0, 0.0], [1.0, -1.0], [1.0, np.nan], [1.0]])
def test_what_is_no_weight_is_refused(weights: list[float]) -> None:
    with pytest.raises(UserError, match="weights of shape"):
        outcomes([0, 1], [[0.9, 0.1]] * 2, None, None, None, None, weights)
