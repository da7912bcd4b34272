import time

import numpy as np
import pytest

from glotune.errors import UserError
from glotune.stats.arrays import outcomes
from glotune.stats.bootstrap import paired_difference, score_intervals
from glotune.stats.confusion import COUNT_METRICS, count_metric
from glotune.stats.count_bootstrap import resample_counts
from glotune.stats.text_bootstrap import resample_texts, statistic_of


def made_up(num_texts=200, num_labels=3, skill=1.0, seed=0, labels=None):
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_labels, size=num_texts) if labels is None else labels
    logits = rng.normal(size=(len(labels), num_labels)) + skill * np.eye(num_labels)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return outcomes(labels, probabilities, -np.log(probabilities[np.arange(len(labels)), labels]))


def test_the_same_seed_gives_the_same_interval_and_another_another():
    made = made_up()
    assert score_intervals(made, seed=1) == score_intervals(made, seed=1)
    assert score_intervals(made, seed=1) != score_intervals(made, seed=2)


def by_weights(metric, *models, clusters=None):
    """The metric of one model, or of the first less the second, by weighting its texts."""
    numbers = [np.arange(models[0].num_texts) if clusters is None else clusters] * len(models)
    statistics = [statistic_of(metric, each) for each in models]
    joint = resample_texts(statistics, numbers, int(numbers[0].max()) + 1, seed=(0,), resamples=8000)
    return joint.weighted([1.0, -1.0][: len(models)])


def test_both_ways_to_resample_agree():
    made = made_up(400)
    counted = score_intervals(made, ("macro_f1", "mcc"), seed=0, resamples=8000)
    weighted = {name: by_weights(name, made).interval() for name in counted}
    for name in counted:
        assert counted[name].low == pytest.approx(weighted[name].low, abs=0.01), name
        assert counted[name].high == pytest.approx(weighted[name].high, abs=0.01), name


def test_both_ways_to_resample_pairs_agree():
    first, labels = made_up(400), made_up(400).label_B
    second = made_up(skill=0.6, seed=9, labels=labels)
    counted = paired_difference("macro_f1", first, second, seed=0)
    weighted = by_weights("macro_f1", first, second)
    macro_f1 = count_metric("macro_f1")
    assert counted.estimate == pytest.approx(float(macro_f1(first.confusion_CC) - macro_f1(second.confusion_CC)))
    assert counted.interval().low == pytest.approx(weighted.interval().low, abs=0.012)
    assert counted.interval().high == pytest.approx(weighted.interval().high, abs=0.012)


def test_a_perfect_score_on_few_texts_is_not_certain():
    labels = np.arange(20) % 2
    interval = score_intervals(outcomes(labels, np.eye(2)[labels]), ("accuracy",), seed=0)["accuracy"]
    assert interval.high == 1.0
    assert 0.8 < interval.low < 0.95


def test_two_models_that_answer_alike_are_not_proven_equal():
    made = made_up(30)
    interval = paired_difference("accuracy", made, made, seed=0).interval()
    assert interval.low < 0 < interval.high


def test_thirty_languages_take_well_under_a_second():
    languages = [made_up(870, seed=seed) for seed in range(30)]
    start = time.process_time()
    for made in languages:
        resample_counts(made.confusion_CC, ["accuracy", "macro_f1", "weighted_f1"], seed=(0,))
    assert time.process_time() - start < 0.6


def test_what_is_undefined_has_no_interval():
    one_class = outcomes([1, 1, 1], [[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    assert set(score_intervals(one_class, ("accuracy", "loss", "roc_auc"), seed=0)) == {"accuracy"}
    with pytest.raises(UserError, match="undefined"):
        paired_difference("roc_auc", one_class, one_class, seed=0)


def test_every_count_metric_has_an_interval_around_its_value():
    made = made_up()
    for name, interval in score_intervals(made, seed=0).items():
        value = made.loss_B.mean() if name == "loss" else float(COUNT_METRICS[name](made.confusion_CC))
        assert interval.low < value < interval.high, name


def test_many_labels_are_paired():
    first = made_up(300, num_labels=30, skill=3.0)
    second = made_up(skill=1.0, num_labels=30, seed=4, labels=first.label_B)
    difference = paired_difference("accuracy", first, second, seed=0, resamples=200)
    assert difference.interval().low > 0


@pytest.mark.parametrize(
    ("metric", "message"), [("macro-f1", "macro_f1"), ("loss", "no losses"), ("bleu", "Expected one of")]
)
def test_a_metric_that_can_t_be_had_is_named(metric, message):
    with pytest.raises(UserError, match=message):
        score_intervals(outcomes([0, 1], np.eye(2)), (metric,), seed=0) if metric != "loss" else (
            paired_difference("loss", outcomes([0, 1], np.eye(2)), outcomes([0, 1], np.eye(2)), seed=0)
        )


def test_different_texts_can_t_be_paired():
    with pytest.raises(UserError, match="the same texts in the same order"):
        paired_difference("accuracy", made_up(seed=0), made_up(seed=1), seed=0)
