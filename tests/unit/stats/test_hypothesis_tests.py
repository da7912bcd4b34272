import numpy as np
import pytest
from scipy.stats import false_discovery_control

from glotune.errors import UserError
from glotune.stats.arrays import outcomes
from glotune.stats.bootstrap import paired_difference
from glotune.stats.hypothesis_tests import benjamini_hochberg, bootstrap_test, holm, mcnemar_exact, permutation_test


def answers(labels, predicted, num_labels=2):
    return outcomes(labels, np.eye(num_labels)[predicted])


def pair(both=50, only_first=10, only_second=2, neither=8):
    labels = np.zeros(both + only_first + only_second + neither, dtype=int)
    labels[::2] = 1
    right = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [both, only_first, only_second, neither], axis=0).astype(bool)
    return tuple(answers(labels, np.where(right[:, side], labels, 1 - labels)) for side in (0, 1))


def test_mcnemar_by_hand():
    first, second = pair(only_first=10, only_second=2)
    assert mcnemar_exact(first, second) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar_exact(first, first) == 1.0


def test_permuting_accuracies_gives_mcnemars_answer():
    first, second = pair()
    ours = permutation_test("accuracy", {"en": first}, {"en": second}, seed=0, permutations=20_000)
    assert ours == pytest.approx(mcnemar_exact(first, second), abs=0.005)


def test_permuting_matches_a_loop_over_the_texts():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=60)
    first = np.where(rng.random(60) < 0.8, labels, rng.integers(3, size=60))
    second = np.where(rng.random(60) < 0.6, labels, rng.integers(3, size=60))
    from sklearn.metrics import f1_score

    observed = abs(f1_score(labels, first, average="macro") - f1_score(labels, second, average="macro"))
    larger = 0
    for _ in range(400):
        swap = rng.random(60) < 0.5
        one, other = np.where(swap, second, first), np.where(swap, first, second)
        difference = f1_score(labels, one, average="macro") - f1_score(labels, other, average="macro")
        larger += abs(difference) >= observed - 1e-12
    ours = permutation_test("macro_f1", {"en": answers(labels, first, 3)}, {"en": answers(labels, second, 3)}, seed=1)
    assert ours == pytest.approx((1 + larger) / 401, abs=0.06)


def test_a_clear_difference_is_found_and_no_difference_is_not():
    first, second = pair(only_first=60, only_second=2)
    assert permutation_test("macro_f1", {"en": first}, {"en": second}, seed=0) < 0.001
    assert bootstrap_test(paired_difference("macro_f1", first, second, seed=0)) < 0.01
    assert permutation_test("macro_f1", {"en": first}, {"en": first}, seed=0) == 1.0
    assert bootstrap_test(paired_difference("macro_f1", first, first, seed=0)) == 1.0


def test_different_texts_are_refused():
    with pytest.raises(UserError, match="same texts"):
        mcnemar_exact(answers([0, 1], [0, 1]), answers([1, 0], [0, 1]))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


def test_benjamini_hochberg_equals_scipys():
    p_values = np.random.default_rng(0).random(20) ** 3
    assert benjamini_hochberg(p_values) == pytest.approx(false_discovery_control(p_values))
    assert benjamini_hochberg([]) == ()
