import math

import numpy as np
import pytest

from glotune.evidence.collapse import (
    collapsed_from_published,
    find_collapses,
    find_pooled_collapse,
    one_class_scores,
    prior_entropy,
)
from glotune.stats.arrays import outcomes
from glotune.stats.scores import score_outcomes


def scored(labels, predicted, num_labels=3, loss=None):
    losses = None if loss is None else np.full(len(labels), loss)
    return score_outcomes(outcomes(labels, np.eye(num_labels)[predicted], losses))


LABELS = np.repeat([0, 1, 2], [30, 40, 30])


def test_the_baseline_of_the_lora_report_is_recognised_from_its_figures():
    """Accuracy 0.44429 beside F1 0.2051 (macro) and 0.2734 (weighted), three classes."""
    found = collapsed_from_published(0.44429, [0.2051, 0.2734], num_labels=3)
    assert found.f1_averages == ("macro", "weighted")
    assert found.share == 0.44429
    assert collapsed_from_published(0.44429, [0.2051], num_labels=3)
    assert collapsed_from_published(0.44429, [0.2734], num_labels=3)


@pytest.mark.parametrize("num_labels", [2, 3, 5])
def test_every_share_is_recognised_after_rounding(num_labels):
    for share in np.linspace(0.02, 0.99, 50):
        expected = one_class_scores(share, num_labels)
        figures = [round(expected.macro_f1, 4), round(expected.weighted_f1, 4)]
        assert collapsed_from_published(round(share, 4), figures, num_labels), share
        assert collapsed_from_published(round(share, 4), figures, num_labels, class_shares=[0.5, share, 0.1])


@pytest.mark.parametrize(
    ("accuracy", "f1s", "num_labels"),
    [
        (0.44429, [0.2061, 0.2734], 3),  # one figure a thousandth off
        (0.44429, [0.2051, 0.2734], 4),  # another number of classes
        (0.6049, [0.5898, 0.6020], 3),  # a real model
        (0.44429, [0.4012], 3),
        (0.44429, [], 3),  # accuracy alone proves nothing
    ],
)
def test_other_figures_are_not(accuracy, f1s, num_labels):
    assert collapsed_from_published(accuracy, f1s, num_labels) is None


def test_the_true_shares_of_the_classes_overrule_the_accuracy():
    assert collapsed_from_published(0.44429, [0.2051, 0.2734], 3, class_shares=[0.35, 0.25, 0.40]) is None
    assert collapsed_from_published(0.44429, [0.2051, 0.2734], 3, class_shares=[0.36, 0.19563, 0.44437])


def test_the_f1_of_the_positive_class_is_known_too():
    assert collapsed_from_published(0.6, [0.75], num_labels=2).f1_averages == ("positive class",)


def test_one_class_for_all_texts_is_found_whichever_class_it_is():
    for answer in range(3):
        found = find_collapses({"en": scored(LABELS, np.full(100, answer))})["en"]
        assert (found.label, found.predicted_share, found.n) == (answer, 1.0, 100)
        assert found.true_share == pytest.approx(0.4 if answer == 1 else 0.3)


def test_a_split_of_one_class_or_few_others_proves_nothing():
    assert find_collapses({"en": scored(np.zeros(100, dtype=int), np.zeros(100, dtype=int))}) == {}
    few_others = np.repeat([0, 1], [87, 13])
    assert find_collapses({"en": scored(few_others, np.zeros(100, dtype=int))}) == {}
    enough = np.repeat([0, 1], [86, 14])
    assert set(find_collapses({"en": scored(enough, np.zeros(100, dtype=int))})) == {"en"}


def test_small_languages_prove_it_together():
    small = {name: scored(np.repeat([0, 1], [10, 9]), np.zeros(19, dtype=int)) for name in ("bn", "hi")}
    assert find_collapses(small) == {}
    assert find_pooled_collapse(small).where == ("bn", "hi")
    assert find_pooled_collapse(small | {"en": scored(LABELS, LABELS)}) is None
    assert find_pooled_collapse({}) is None


def nearly_one_class(num_texts=2000, share=0.97, skill=0.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, p=[0.3, 0.4, 0.3], size=num_texts)
    other = np.where(rng.random(num_texts) < skill, labels, rng.integers(3, size=num_texts))
    return labels, np.where(rng.random(num_texts) < share, 1, other)


def test_nearly_one_class_without_skill_or_gain_is_a_collapse():
    labels, predicted = nearly_one_class()
    assert find_collapses({"en": scored(labels, predicted, loss=1.0986)})["en"].predicted_share < 1


@pytest.mark.parametrize(
    ("share", "skill", "loss"),
    [
        (0.97, 0.0, None),  # no losses: evidence is missing
        (0.97, 0.0, 0.95),  # the loss is better than the label frequencies give
        (0.90, 0.0, 1.0986),  # one text in fifteen is answered otherwise
        (0.94, 1.0, 1.0986),  # 95 % one class, but the others are right
    ],
)
def test_nearly_one_class_with_a_sign_of_life_is_not(share, skill, loss):
    labels, predicted = nearly_one_class(share=share, skill=skill)
    assert find_collapses({"en": scored(labels, predicted, loss=loss)}) == {}


def test_the_entropy_of_equal_classes_is_ln_c():
    assert prior_entropy([5, 5, 5]) == pytest.approx(math.log(3))
    assert prior_entropy([5, 0]) == 0.0
