"""Scores of several labels for each text against scikit-learn's, thresholds against trying them all."""

import numpy as np
import pytest
from sklearn import metrics as sk

from glotune.report.analysis import gaps_by_label
from glotune.stats.arrays import sigmoid
from glotune.stats.label_sets import LabelSets, label_sets
from glotune.stats.label_thresholds import cross_fitted_answers, fit_thresholds
from glotune.tasks.label_sets import text_losses

CASES = [(2, 40, 0.5, False), (3, 200, 0.3, False), (6, 500, 0.1, True), (12, 60, 0.05, False)]


def made_up(num_labels: int, num_texts: int, share: float, seed: int = 0, rounded: bool = False, blank: float = 0.0):
    rng = np.random.default_rng(seed)
    true = (rng.random((num_texts, num_labels)) < share).astype(int)
    logits = rng.normal(size=true.shape) + 1.5 * true - 1.0
    logits = np.round(logits) if rounded else logits
    probabilities = sigmoid(logits)
    labels = np.where(rng.random(true.shape) < blank, -1, true)
    losses = text_losses(logits, np.where(labels < 0, np.nan, labels).astype(np.float32)) if blank == 0 else None
    return label_sets(labels, probabilities, probabilities >= 0.4, losses)


@pytest.mark.parametrize(("num_labels", "num_texts", "share", "rounded"), CASES)
def test_scores_equal_scikit_learn(num_labels, num_texts, share, rounded):
    sets = made_up(num_labels, num_texts, share, rounded=rounded)
    true, answered, found = sets.label_BL, sets.answer_BL.astype(int), sets.values()
    for average in ("macro", "weighted"):
        theirs = sk.precision_recall_fscore_support(true, answered, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), theirs, strict=False):
            assert found[f"{average}_{name}"] == pytest.approx(value), (average, name)
    assert found["micro_f1"] == pytest.approx(sk.f1_score(true, answered, average="micro", zero_division=0))
    assert found["samples_f1"] == pytest.approx(sk.f1_score(true, answered, average="samples", zero_division=0))
    assert found["subset_accuracy"] == pytest.approx(sk.accuracy_score(true, answered))
    assert found["hamming_loss"] == pytest.approx(sk.hamming_loss(true, answered))
    present = true.any(axis=0)
    theirs = sk.average_precision_score(true[:, present], sets.probability_BL[:, present], average="macro")
    assert found["average_precision"] == pytest.approx(theirs)
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(true[:, present], sets.probability_BL[:, present]))
    assert found["loss"] == pytest.approx(sk.log_loss(true.ravel(), sets.probability_BL.ravel()))
    for label, told in sets.by_label([f"label {label}" for label in range(num_labels)]).items():
        place = int(label.split()[1])
        theirs = sk.precision_recall_fscore_support(
            true[:, place], answered[:, place], average="binary", zero_division=0
        )
        assert [told[name] for name in ("precision", "recall", "f1")] == pytest.approx(theirs[:3])
        assert told["support"] == true[:, place].sum()


def test_what_is_not_annotated_counts_nowhere():
    sets = made_up(4, 300, 0.3, blank=0.4)
    known, true, answered = sets.label_BL >= 0, sets.label_BL, sets.answer_BL
    scores = [sk.f1_score(true[known[:, place], place], answered[known[:, place], place]) for place in range(4)]
    assert sets.values()["macro_f1"] == pytest.approx(np.mean(scores))
    assert sets.values()["micro_f1"] == pytest.approx(sk.f1_score(true[known], answered[known]))
    flipped = np.where(known, answered, ~answered)
    other = LabelSets(true, np.where(known, sets.probability_BL, 0.5), flipped, sets.loss_B)
    assert {**other.values(), "ece": 0} == {**sets.values(), "ece": 0}


def test_a_label_without_annotations_is_left_out_of_the_means():
    sets = made_up(3, 100, 0.4)
    labels = sets.label_BL.copy()
    labels[:, 1] = -1
    without = label_sets(labels, sets.probability_BL, sets.answer_BL)
    scores = [sk.f1_score(labels[:, place], sets.answer_BL[:, place]) for place in (0, 2)]
    assert without.values()["macro_f1"] == pytest.approx(np.mean(scores))
    assert list(without.by_label(["a", "b", "c"])) == ["a", "c"]


@pytest.mark.parametrize("rounded", [False, True])
def test_weighted_forms_equal_scikit_learn_with_sample_weights(rounded):
    sets = made_up(3, 80, 0.4, seed=5, rounded=rounded)
    weights = np.random.default_rng(1).integers(1, 4, size=(2, 80)).astype(float)
    for name, score in (("average_precision", sk.average_precision_score), ("roc_auc", sk.roc_auc_score)):
        theirs = [score(sets.label_BL, sets.probability_BL, sample_weight=each) for each in weights]
        assert sets.statistic(name)(weights) == pytest.approx(theirs)
    theirs = [sk.f1_score(sets.label_BL, sets.answer_BL, average="macro", sample_weight=each) for each in weights]
    assert sets.statistic("macro_f1")(weights) == pytest.approx(theirs)


def test_a_weighting_without_texts_of_a_label_means_over_the_others():
    sets = made_up(3, 80, 0.4, seed=5)
    weights = np.ones((1, 80))
    weights[0, sets.label_BL[:, 1] == 1] = 0.0
    drawn = weights[0] > 0
    scores = [sk.average_precision_score(sets.label_BL[drawn, place], sets.probability_BL[drawn, place])
              for place in (0, 2)]  # fmt: skip
    assert sets.statistic("average_precision")(weights) == pytest.approx(np.mean(scores))
    assert np.isnan(sets.statistic("average_precision")(np.zeros((1, 80)))).all()


def test_no_other_threshold_has_a_better_f1():
    sets = made_up(3, 90, 0.25, seed=2)
    found = fit_thresholds(sets.label_BL, sets.probability_BL)
    for place, threshold in enumerate(found):
        true, stated = sets.label_BL[:, place], sets.probability_BL[:, place]
        reached = sk.f1_score(true, stated >= threshold)
        every = [sk.f1_score(true, stated >= level, zero_division=0) for level in np.unique(stated)]
        assert reached == pytest.approx(max(every))


def test_the_gap_of_a_label_is_the_mean_of_the_languages_annotated_with_it():
    answered = {language: made_up(3, 150, 0.4, seed=seed) for seed, language in enumerate(("en", "de", "sw"))}
    blank = answered["sw"].label_BL.copy()
    blank[:, 2] = -1
    answered["sw"] = label_sets(blank, answered["sw"].probability_BL, answered["sw"].answer_BL)
    scores = {name: each.by_label(["a", "b", "c"]) for name, each in answered.items()}
    found = {each.label: each for each in gaps_by_label(answered, ["en"], ["a", "b", "c"])}
    targets = {"a": ("de", "sw"), "b": ("de", "sw"), "c": ("de",)}
    for label, languages in targets.items():
        mean = np.mean([scores[language][label]["f1"] for language in languages])
        assert found[label].gap == pytest.approx(scores["en"][label]["f1"] - mean)
        assert found[label].interval.low < found[label].gap < found[label].interval.high
        assert found[label].languages == len(languages)


def test_no_text_is_answered_by_a_threshold_that_it_fitted():
    """Random probabilities: thresholds look good on the texts that fitted them, cross-fitted ones don't."""
    rng = np.random.default_rng(0)
    own, crossed = [], []
    for _ in range(60):
        labels, stated = (rng.random((40, 1)) < 0.3).astype(int), rng.random((40, 1))
        own.append(sk.f1_score(labels, stated >= fit_thresholds(labels, stated)))
        crossed.append(sk.f1_score(labels, cross_fitted_answers(labels, stated), zero_division=0))
    chance = 2 * 0.3 / 1.3  # always yes
    assert np.mean(own) > chance + 0.02
    assert np.mean(crossed) < chance
