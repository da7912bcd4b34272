"""Our scores and curves against scikit-learn's, on labels that a split may lack."""

import numpy as np
import pytest
from sklearn import metrics as sk

from glotune.stats.arrays import outcomes
from glotune.stats.curves import precision_recall_curves, roc_curves
from glotune.stats.scores import score_outcomes


def made_up(num_labels: int, num_texts: int, seed: int, absent: int | None = None, rounded: bool = False):
    rng = np.random.default_rng(seed)
    labels = rng.choice([index for index in range(num_labels) if index != absent], size=num_texts)
    logits = rng.normal(size=(num_texts, num_labels)) + 1.2 * np.eye(num_labels)[labels]
    if rounded:
        logits = np.round(logits)  # many tied scores
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, probabilities


CASES = [(2, 50, None, False), (3, 200, None, True), (3, 60, 1, False), (6, 40, 5, True), (12, 500, None, False)]


@pytest.mark.parametrize(("num_labels", "num_texts", "absent", "rounded"), CASES)
def test_scores_equal_scikit_learn(num_labels, num_texts, absent, rounded):
    labels, probabilities = made_up(num_labels, num_texts, seed=num_labels, absent=absent, rounded=rounded)
    predicted = probabilities.argmax(axis=1)
    losses = -np.log(probabilities[np.arange(num_texts), labels])
    ours = score_outcomes(outcomes(labels, probabilities, losses))

    every = list(range(num_labels))
    assert ours.accuracy == pytest.approx(sk.accuracy_score(labels, predicted))
    assert ours.mcc == pytest.approx(sk.matthews_corrcoef(labels, predicted))
    assert ours.loss == pytest.approx(sk.log_loss(labels, probabilities, labels=every))
    for average in ("macro", "weighted"):
        theirs = sk.precision_recall_fscore_support(labels, predicted, labels=every, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), theirs, strict=False):
            assert getattr(ours, f"{average}_{name}") == pytest.approx(value), (average, name)
    theirs = sk.precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), theirs, strict=True):
        assert [getattr(scores, name) for scores in ours.per_class] == pytest.approx(values), name
    assert np.array_equal(ours.confusion_CC, sk.confusion_matrix(labels, predicted, labels=every))
    assert ours.absent_labels == (() if absent is None else (absent,))


@pytest.mark.parametrize(("num_labels", "num_texts", "absent", "rounded"), CASES)
def test_areas_equal_scikit_learn(num_labels, num_texts, absent, rounded):
    labels, probabilities = made_up(num_labels, num_texts, seed=7, absent=absent, rounded=rounded)
    ours = score_outcomes(outcomes(labels, probabilities))
    for index, scores in enumerate(ours.per_class):
        if index == absent:
            assert scores.roc_auc is None
        else:
            assert scores.roc_auc == pytest.approx(sk.roc_auc_score(labels == index, probabilities[:, index]))
    if absent is not None:
        assert ours.roc_auc is None
    elif num_labels > 2:
        assert ours.roc_auc == pytest.approx(sk.roc_auc_score(labels, probabilities, multi_class="ovr"))
    else:
        assert ours.roc_auc == pytest.approx(sk.roc_auc_score(labels, probabilities[:, 1]))


def lies_on_a_segment(point, line) -> bool:
    start, stop = line[:-1], line[1:]
    detour = np.hypot(*(point - start).T) + np.hypot(*(stop - point).T) - np.hypot(*(stop - start).T)
    return bool((detour < 1e-6).any())


@pytest.mark.parametrize("rounded", [False, True])
def test_curves_equal_scikit_learn(rounded):
    labels, probabilities = made_up(3, 120, seed=3, rounded=rounded)
    checked = outcomes(labels, probabilities)
    for index, (roc, pr) in enumerate(
        zip(roc_curves(checked.rankings()), precision_recall_curves(checked.rankings()), strict=True)
    ):
        fpr, tpr, _ = sk.roc_curve(labels == index, probabilities[:, index], drop_intermediate=False)
        ours = np.column_stack([roc.false_positive_rate, roc.true_positive_rate])
        theirs = np.column_stack([fpr, tpr])
        assert all(np.isclose(point, theirs).all(axis=1).any() for point in ours)
        assert all(lies_on_a_segment(point, ours) for point in theirs)
        assert roc.auc == pytest.approx(sk.auc(fpr, tpr))
        precision, recall, _ = sk.precision_recall_curve(labels == index, probabilities[:, index])
        assert pr.precision == pytest.approx(precision[::-1])
        assert pr.recall == pytest.approx(recall[::-1])
        assert pr.average_precision == pytest.approx(
            sk.average_precision_score(labels == index, probabilities[:, index])
        )


def test_calibration_error_equals_a_loop_over_the_bins():
    labels, probabilities = made_up(3, 500, seed=11)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for index in range(15):
        inside = (confidence > index / 15) & (confidence <= (index + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert score_outcomes(outcomes(labels, probabilities)).ece == pytest.approx(expected)
