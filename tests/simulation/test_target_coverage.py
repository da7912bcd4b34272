"""Do intervals of several labels and of scores hold the truth as often as they say?"""

import numpy as np
import pytest

from glotune.stats.arrays import outcomes, sigmoid
from glotune.stats.bootstrap import score_intervals
from glotune.stats.label_sets import label_sets
from glotune.stats.ratings import ratings

REPETITIONS, RESAMPLES = 200, 400
LEAST, MOST = {60: 0.86, 250: 0.90}, 1.0
"""Of 200 intervals of 95 %: three standard errors below, and a little for coarse resamples. Of 60 texts errors and
correlations of numbers are known less well than said (measured: 88 to 92 %), as bootstrap intervals of them are.
"""


def some_labels(num_texts, rng):
    true = (rng.random((num_texts, 3)) < [0.5, 0.2, 0.08]).astype(int)
    probabilities = sigmoid(rng.normal(size=true.shape) + 2.0 * true - 1.0)
    blank = rng.random(true.shape) < 0.1
    return label_sets(np.where(blank, -1, true), probabilities, probabilities >= 0.5)


def some_scores(num_texts, rng):
    truth = rng.gamma(2.0, size=(num_texts, 2))
    return ratings(np.where(rng.random(truth.shape) < 0.1, np.nan, truth), truth + rng.normal(size=truth.shape))


def some_votes(num_texts, rng):
    """Answers that know something of how five annotators are spread over three classes."""
    shares = rng.dirichlet([0.8, 0.5, 0.4], num_texts)
    votes = rng.multinomial(5, shares)
    return outcomes(votes.argmax(axis=1), (shares + rng.dirichlet(np.ones(3), num_texts)) / 2.0, None, None, votes)


def coverage(make, metrics, num_texts):
    truth = make(200_000, np.random.default_rng(0)).values()
    held = dict.fromkeys(metrics, 0)
    for repetition in range(REPETITIONS):
        found = make(num_texts, np.random.default_rng([1, repetition]))
        intervals = score_intervals(found, metrics, seed=repetition, resamples=RESAMPLES)
        for name in metrics:
            held[name] += intervals[name].low <= truth[name] <= intervals[name].high
    return {name: count / REPETITIONS for name, count in held.items()}


def test_several_labels():
    metrics = ("macro_f1", "micro_f1", "samples_f1", "subset_accuracy", "hamming_loss")
    for num_texts in (60, 250):
        found = coverage(some_labels, metrics, num_texts)
        assert all(LEAST[num_texts] <= share <= MOST for share in found.values()), (num_texts, found)


@pytest.mark.extras
def test_average_precision():
    """One of the labels is of five texts in sixty: some draws have none of it, and mean over the others."""
    for num_texts in (60, 250):
        found = coverage(some_labels, ("average_precision",), num_texts)
        assert LEAST[num_texts] <= found["average_precision"] <= MOST, (num_texts, found)


def test_scores():
    for num_texts in (60, 250):
        found = coverage(some_scores, ("pearson", "rmse", "mae"), num_texts)
        assert all(LEAST[num_texts] <= share <= MOST for share in found.values()), (num_texts, found)


def test_votes():
    found = coverage(some_votes, ("js_distance", "agreement", "agreement_ceiling"), 60)
    assert all(LEAST[60] <= share <= MOST for share in found.values()), found


def test_a_label_that_was_found_every_time_is_not_certain():
    """Three of three found: the bootstrap alone would say [1, 1]."""
    labels = np.zeros((60, 1), int)
    labels[:3] = 1
    found = label_sets(labels, labels * 0.8 + 0.1, labels == 1)
    assert found.values()["macro_f1"] == 1.0
    assert score_intervals(found, ["macro_f1"], seed=0)["macro_f1"].low < 0.95


def test_labels_that_were_ranked_rightly_every_time_are_not_certain():
    """Three labels of 60 texts, each text with a label ranked above all without: a bootstrap alone says [1, 1]."""
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 3)) < 0.3).astype(int)
    found = label_sets(labels, 0.5 * labels + 0.4 * rng.random(labels.shape), labels == 1)
    assert found.values()["average_precision"] == 1.0
    interval = score_intervals(found, ["average_precision"], seed=0)["average_precision"]
    assert 0.9 < interval.low < 0.99
    assert interval.high == 1.0
