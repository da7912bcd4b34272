"""Do 95 % intervals hold the truth 95 % of the time? Texts are drawn anew from a known model."""

import numpy as np
import pytest

from glotune.stats.arrays import outcomes
from glotune.stats.bootstrap import paired_difference, score_intervals
from glotune.stats.confusion import COUNT_METRICS, count_metric
from glotune.stats.count_bootstrap import resample_counts
from glotune.stats.resampling import combine

REPEATS = 400
# Three standard errors of a share of 400 below 0.95, and a little for the approximation itself.
LEAST = 0.95 - 3 * np.sqrt(0.95 * 0.05 / REPEATS) - 0.005
RESAMPLES = 500


def population(num_labels: int, accuracy: float, imbalance: float) -> np.ndarray:
    """Joint probabilities of (true, predicted): class k is `imbalance` times as frequent as k - 1."""
    share = imbalance ** np.arange(num_labels)
    predicted = np.full((num_labels, num_labels), (1 - accuracy) / (num_labels - 1))
    np.fill_diagonal(predicted, accuracy)
    return share[:, None] / share.sum() * predicted


@pytest.mark.parametrize(
    ("num_labels", "accuracy", "imbalance", "num_texts"),
    [
        (2, 0.70, 1.0, 100),
        (3, 0.60, 0.6, 50),
        (3, 0.90, 1.0, 400),
        (3, 0.97, 0.6, 200),
        (3, 0.99, 1.0, 20),  # all right most of the time: a plain bootstrap covers 16 % here
        (6, 0.80, 0.8, 200),
    ],
)
def test_intervals_of_scores_cover(num_labels, accuracy, imbalance, num_texts):
    rng = np.random.default_rng(num_texts)
    truth = population(num_labels, accuracy, imbalance)
    names = ["accuracy", "macro_f1", "weighted_f1", "mcc"]
    hits = dict.fromkeys(names, 0)
    for repeat in range(REPEATS):
        confusion = rng.multinomial(num_texts, truth.ravel()).reshape(truth.shape)
        for name, resampled in resample_counts(confusion, names, seed=(repeat,), resamples=RESAMPLES).items():
            interval = resampled.interval()
            hits[name] += interval.low <= COUNT_METRICS[name](truth) <= interval.high
    assert {name: count / REPEATS for name, count in hits.items() if count / REPEATS < LEAST} == {}


def test_intervals_are_not_wide_for_safety():
    """Covering is easy for a wide interval: at 400 texts ours is as wide as the normal one of a share."""
    confusion = np.array([[170, 30], [30, 170]])
    interval = resample_counts(confusion, ["accuracy"], seed=(0,))["accuracy"].interval()
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * np.sqrt(0.85 * 0.15 / 400), rel=0.06)


@pytest.mark.parametrize("agreement", [0.6, 0.97])
def test_intervals_of_paired_differences_cover(agreement):
    """Two models that often answer alike; at agreement 0.97 few texts tell them apart."""
    rng = np.random.default_rng(5)
    num_labels, num_texts = 3, 150

    def draw(size: int):
        labels = rng.choice(num_labels, p=[0.5, 0.3, 0.2], size=size)
        first = np.where(rng.random(size) < 0.8, labels, rng.integers(num_labels, size=size))
        other = np.where(rng.random(size) < 0.7, labels, rng.integers(num_labels, size=size))
        return labels, first, np.where(rng.random(size) < agreement, first, other)

    def made(labels, predicted):
        return outcomes(labels, np.eye(num_labels)[predicted])

    labels, first, second = draw(2_000_000)
    macro_f1 = count_metric("macro_f1")
    truth = float(macro_f1(made(labels, first).confusion_CC) - macro_f1(made(labels, second).confusion_CC))
    hits = 0
    for repeat in range(REPEATS):
        labels, first, second = draw(num_texts)
        difference = paired_difference(
            "macro_f1", made(labels, first), made(labels, second), seed=repeat, resamples=RESAMPLES
        )
        interval = difference.interval()
        hits += interval.low <= truth <= interval.high
    assert hits / REPEATS >= LEAST


def test_intervals_of_gaps_between_languages_cover():
    rng = np.random.default_rng(6)
    source, target = population(3, 0.85, 0.7), population(3, 0.6, 0.5)
    macro_f1 = count_metric("macro_f1")
    truth = float(macro_f1(source) - macro_f1(target))
    hits = 0
    for repeat in range(REPEATS):
        parts = [
            resample_counts(
                rng.multinomial(size, joint.ravel()).reshape(3, 3),
                ["macro_f1"],
                seed=(repeat, place),
                resamples=RESAMPLES,
            )["macro_f1"]
            for place, (joint, size) in enumerate([(source, 300), (target, 120)])
        ]
        interval = combine(parts, [1.0, -1.0]).interval()
        hits += interval.low <= truth <= interval.high
    assert hits / REPEATS >= LEAST


@pytest.mark.extras
def test_intervals_of_loss_and_auc_cover():
    rng = np.random.default_rng(7)

    def draw(size: int):
        labels = (rng.random(size) < 0.4).astype(int)
        probability = 1 / (1 + np.exp(-(rng.normal(size=size) + 2.4 * labels - 1.2)))
        probabilities = np.column_stack([1 - probability, probability])
        return outcomes(labels, probabilities, -np.log(probabilities[np.arange(size), labels]))

    big = draw(400_000)
    from sklearn.metrics import roc_auc_score

    truth = {"loss": float(big.loss_B.mean()), "roc_auc": roc_auc_score(big.label_B, big.probabilities_BC[:, 1])}
    hits = dict.fromkeys(truth, 0)
    for repeat in range(REPEATS):
        intervals = score_intervals(draw(80), ("loss", "roc_auc"), seed=repeat, resamples=RESAMPLES)
        for name, interval in intervals.items():
            hits[name] += interval.low <= truth[name] <= interval.high
    assert min(hits.values()) / REPEATS >= LEAST, hits


def test_texts_that_come_in_clusters_cover_only_when_drawn_as_clusters():
    """Four near copies of each text: drawing them alone states twice the certainty."""
    rng = np.random.default_rng(8)
    hits = {"alone": 0, "clustered": 0}
    for repeat in range(REPEATS):
        right = np.repeat(rng.random(40) < 0.7, 4)
        labels = np.repeat(rng.integers(2, size=40), 4)
        answers = np.eye(2)[np.where(right, labels, 1 - labels)]
        for name, groups in (("alone", None), ("clustered", np.repeat(np.arange(40), 4))):
            made = outcomes(labels, answers, cluster_B=groups)
            interval = score_intervals(made, ("accuracy",), seed=repeat, resamples=300)["accuracy"]
            hits[name] += interval.low <= 0.7 <= interval.high
    assert hits["alone"] / REPEATS < 0.75
    assert hits["clustered"] / REPEATS >= LEAST - 0.02
