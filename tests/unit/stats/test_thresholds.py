"""Thresholds for one class of several: what they find, and that texts don't tune their own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from glotune.stats.arrays import Outcomes, outcomes, softmax
from glotune.stats.confusion import count_metric
from glotune.stats.scores import score_outcomes
from glotune.stats.thresholds import answers_at, cross_fitted_classes, tune_thresholds


def neglected(texts: int = 400, classes: int = 3, seed: int = 0) -> Outcomes:
    """A model that knows its classes and states the last, a rare one, far too low."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, texts, p=[*np.full(classes - 1, 0.92 / (classes - 1)), 0.08])
    logits = rng.normal(size=(texts, classes)) + 2.5 * np.eye(classes)[labels]
    logits[:, -1] -= 3.0
    return outcomes(labels, softmax(logits), np.ones(texts))


def value(found: Outcomes, thresholds: np.ndarray, metric: str) -> float:
    confusion = np.zeros((found.num_labels, found.num_labels))
    np.add.at(confusion, (found.label_B, answers_at(found.probabilities_BC, thresholds)), 1)
    return float(count_metric(metric)(confusion))


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy", "mcc"])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_thresholds_are_never_worse_than_the_most_probable_class(classes: int, metric: str) -> None:
    found = neglected(classes=classes)
    thresholds = tune_thresholds(found, metric)
    assert thresholds.sum() == pytest.approx(1.0)
    assert value(found, thresholds, metric) >= value(found, np.ones(classes), metric)
    if metric == "macro_f1":
        assert value(found, thresholds, metric) > value(found, np.ones(classes), metric) + 0.05
        assert thresholds[-1] < 1 / classes


def test_of_three_classes_they_come_near_the_best_of_a_grid() -> None:
    found = neglected(150)
    ratios = np.exp(np.linspace(-4, 2, 61))
    best = max(value(found, np.array([1.0, one, two]), "macro_f1") for one, two in itertools.product(ratios, ratios))
    assert value(found, tune_thresholds(found, "macro_f1"), "macro_f1") > best - 0.02


def test_two_classes_are_cut_at_one_probability() -> None:
    found = neglected(classes=2)
    first, second = tune_thresholds(found, "macro_f1")
    answers = answers_at(found.probabilities_BC, np.array([first, second]))
    assert answers.tolist() == (found.probabilities_BC[:, 1] > second).astype(int).tolist()


def test_no_text_tunes_its_own_answer() -> None:
    """Of probabilities that know nothing, the tuned value is above chance on the very texts and not across folds."""
    rng = np.random.default_rng(1)
    within, across = [], []
    for _ in range(20):
        labels = rng.choice(3, 60, p=[0.7, 0.2, 0.1])
        found = outcomes(labels, rng.dirichlet(np.ones(3), 60))
        within.append(value(found, tune_thresholds(found, "mcc"), "mcc"))
        confusion = np.zeros((3, 3))
        np.add.at(confusion, (labels, cross_fitted_classes(found, "mcc")), 1)
        across.append(float(count_metric("mcc")(confusion)))
    assert np.mean(within) > 0.1
    assert abs(np.mean(across)) < 0.08


def test_scores_are_those_of_the_answers_and_calibration_of_the_probabilities() -> None:
    found = neglected()
    answers = answers_at(found.probabilities_BC, tune_thresholds(found, "macro_f1"))
    decided = outcomes(found.label_B, found.probabilities_BC, found.loss_B, None, None, answers)
    plain, tuned = score_outcomes(found), score_outcomes(decided)
    assert tuned.macro_f1 > plain.macro_f1
    assert (tuned.ece, tuned.roc_auc, tuned.loss) == (plain.ece, plain.roc_auc, plain.loss)
    assert float(decided.statistic("macro_f1")(np.ones((1, 400)))[0]) == pytest.approx(tuned.macro_f1)
