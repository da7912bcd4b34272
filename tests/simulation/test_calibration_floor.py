"""A perfectly calibrated model has a calibration error; what is stated of it must be what it shows."""

import numpy as np
import pytest

from glotune.stats.arrays import outcomes
from glotune.stats.calibration import chance_error, expected_calibration_error


@pytest.mark.parametrize(("num_texts", "measured"), [(30, 0.188), (180, 0.08), (870, 0.037)])
def test_the_stated_floor_is_the_error_of_a_calibrated_model(num_texts, measured):
    """Three classes, confidences from 0.34 to 1; labels drawn from the probabilities themselves."""
    rng = np.random.default_rng(0)
    shown, stated = [], []
    for _ in range(200):
        logits = rng.normal(size=(num_texts, 3))
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        labels = (probabilities.cumsum(axis=1) < rng.random((num_texts, 1))).sum(axis=1)
        made = outcomes(labels, probabilities)
        shown.append(expected_calibration_error(made))
        stated.append(chance_error(made))
    assert np.mean(shown) == pytest.approx(measured, abs=0.012)
    assert np.mean(stated) == pytest.approx(np.mean(shown), rel=0.04)


def test_a_sure_model_has_no_floor_and_single_texts_have_theirs():
    assert chance_error(outcomes([0, 1], [[1.0, 0.0], [0.0, 1.0]])) == 0.0
    assert chance_error(outcomes([0], [[0.9, 0.1]])) == pytest.approx(2 * 0.9 * 0.1)
