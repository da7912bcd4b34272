"""Thresholds for one class of several: what they find, and that texts don't tune their own."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from glotune.stats.arrays import Outcomes, outcomes, softmax
from glotune.stats.confusion import count_metric
from glotune.stats.scores import score_outcomes
from glotune.stats.thresholds import answers_at, cross_fitted_classes, tune_thresholds
from glotune.tasks.records import Outputs
from glotune.tasks.tuning import Tuning


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


@pytest.mark.parametrize("metric", ["macro_f1", "weighted_f1", "accuracy", "mcc"])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_text_of_weight_two_tunes_as_two_such_texts(classes: int, metric: str) -> None:
    plain = neglected(classes=classes)
    weights = np.random.default_rng(3).integers(1, 5, plain.num_texts)
    again = np.repeat(np.arange(plain.num_texts), weights)
    weighted = replace(plain, weight_B=weights.astype(float))
    repeated = outcomes(plain.label_B[again], plain.probabilities_BC[again])
    assert np.array_equal(tune_thresholds(weighted, metric), tune_thresholds(repeated, metric))
    crossed = cross_fitted_classes(weighted, metric)
    assert np.array_equal(crossed[again], cross_fitted_classes(repeated, metric, again))
    once = replace(plain, weight_B=np.ones(plain.num_texts))
    assert np.array_equal(tune_thresholds(once, metric), tune_thresholds(plain, metric)), "bit for bit"


def test_thresholds_are_those_that_the_weighted_metric_wants() -> None:
    """Texts of the rare class count little: what macro-F1 of counts would gain from them is worth nothing."""
    plain = neglected()
    weights = np.where(plain.label_B == 2, 0.01, 1.0)
    weighted = replace(plain, weight_B=weights)

    def score(thresholds: np.ndarray) -> float:
        answers = answers_at(plain.probabilities_BC, thresholds)
        return f1_score(plain.label_B, answers, average="macro", sample_weight=weights, zero_division=0)

    assert score(tune_thresholds(weighted, "macro_f1")) > score(tune_thresholds(plain, "macro_f1")) + 0.02


@pytest.mark.parametrize("weighted", [False, True])
def test_a_run_tunes_for_the_metric_that_it_reports(weighted: bool) -> None:
    plain = neglected()
    weights = np.where(plain.label_B == 2, 0.01, 1.0).astype(np.float32) if weighted else None
    rows = np.arange(50, 350)
    outputs = Outputs(np.log(plain.probabilities_BC), np.ones(400), weights_N=weights)
    tuning = Tuning(rows, plain.label_B[rows].astype(np.int16), rows, ["en"], "macro_f1")
    here = outcomes(
        plain.label_B[rows], softmax(outputs.logits_NC[rows]), weight_B=None if weights is None else weights[rows]
    )
    decision = tuning.decide(outputs)
    assert decision.thresholds == tune_thresholds(here, "macro_f1").tolist()
    answers = tuning.answered(outputs, decision).answers_N
    assert answers is not None
    assert np.array_equal(answers[rows], cross_fitted_classes(here, "macro_f1", rows))


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
