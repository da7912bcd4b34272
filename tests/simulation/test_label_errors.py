"""Labels that were made wrong are found: by how much, and that right ones are not called wrong."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from glotune.stats.confident import confident_learning, normalised_margins

TEXTS, FLIPPED = 3000, 0.1


def simulated(rng: np.random.Generator, apart: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(true labels, given labels, out-of-fold probabilities): three classes, wrong at rates of their own."""
    true = rng.choice(3, TEXTS, p=[0.6, 0.3, 0.1])
    centres = apart * np.eye(3)
    features = centres[true] + rng.normal(size=(TEXTS, 3))
    wrong = rng.random(TEXTS) < FLIPPED * np.array([0.5, 1.5, 2.5])[true]
    given = np.where(wrong, (true + rng.integers(1, 3, TEXTS)) % 3, true)
    model = LogisticRegression()
    return true, given, cross_val_predict(model, features, given, cv=5, method="predict_proba")


@pytest.mark.parametrize(("apart", "precision", "recall"), [(5.0, 0.9, 0.8), (3.0, 0.55, 0.6)])
def test_injected_errors_are_found(apart: float, precision: float, recall: float) -> None:
    true, given, chances = simulated(np.random.default_rng(0), apart)
    is_wrong = true != given
    found = confident_learning(given, chances)
    named = np.zeros(TEXTS, bool)
    named[found.errors] = True
    assert 0.08 < is_wrong.mean() < 0.12, "one in ten: naming at random would be right as rarely"
    assert (named & is_wrong).sum() / named.sum() > precision
    assert (named & is_wrong).sum() / is_wrong.sum() > recall
    assert found.rate == pytest.approx(is_wrong.mean(), abs=0.04)
    right_class = found.likely_N[named & is_wrong] == true[named & is_wrong]
    assert right_class.mean() > 0.9, "and the likely label is the true one"
    ranked = np.argsort(normalised_margins(given, chances))[: is_wrong.sum() // 2]
    assert is_wrong[ranked].mean() > precision, "the likeliest errors stand first"


def test_labels_without_errors_are_left_alone() -> None:
    rng = np.random.default_rng(1)
    true = rng.choice(3, TEXTS)
    features = 5.0 * np.eye(3)[true] + rng.normal(size=(TEXTS, 3))
    chances = cross_val_predict(LogisticRegression(), features, true, cv=5, method="predict_proba")
    assert len(confident_learning(true, chances).errors) < 0.01 * TEXTS
