"""Confident learning by hand: thresholds, joint, likely labels and ranking of a tiny example."""

from __future__ import annotations

import numpy as np
import pytest

from glotune.stats.confident import confident_learning, normalised_margins

LABELS = np.array([0, 0, 0, 1, 1, 2])
CHANCES = np.array(
    [
        [0.8, 0.1, 0.1],  # 0, and counts as 0
        [0.7, 0.2, 0.1],  # 0: 0.7 >= 0.6
        [0.3, 0.6, 0.1],  # 0, and counts as 1: 0.6 >= 0.55
        [0.2, 0.7, 0.1],  # 1
        [0.5, 0.4, 0.1],  # 1: reaches no threshold, and counts as nothing
        [0.0, 0.1, 0.9],  # 2
    ]
)


def test_by_hand() -> None:
    found = confident_learning(LABELS, CHANCES)
    assert found.thresholds_C == pytest.approx([(0.8 + 0.7 + 0.3) / 3, (0.7 + 0.4) / 2, 0.9])
    assert found.likely_N.tolist() == [0, 0, 1, 1, -1, 2]
    assert found.joint_CC.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert found.errors.tolist() == [2]
    # Eq. 3: two of three texts called 0 are, so two of the three; the one text that counts stands for both called 1.
    expected = np.array([[2, 1, 0], [0, 2, 0], [0, 0, 1]]) / 6
    assert found.estimated_joint_CC == pytest.approx(expected)
    assert found.rate == pytest.approx(1 / 6)
    assert normalised_margins(LABELS, CHANCES) == pytest.approx([0.7, 0.5, -0.3, 0.5, -0.1, 0.8])


def test_the_likeliest_of_several_classes_that_reach_their_thresholds_counts() -> None:
    chances = np.array([[0.4, 0.6], [0.2, 0.8], [0.9, 0.1], [0.45, 0.55]])
    found = confident_learning(np.array([0, 1, 0, 1]), chances)
    assert found.thresholds_C == pytest.approx([0.65, 0.675])
    assert found.likely_N.tolist() == [-1, 1, 0, -1], "0.6 and 0.55 are likelier than not, and confident of nothing"


def test_a_class_that_no_text_bears_is_never_likely() -> None:
    found = confident_learning(np.array([0, 0]), np.array([[0.1, 0.9], [0.2, 0.8]]))
    assert found.likely_N.tolist() == [-1, 0]
    assert found.rate == 0.0
