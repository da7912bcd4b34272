import numpy as np
import pytest
from sklearn.metrics import f1_score

from glotune.errors import UserError
from glotune.stats.arrays import outcomes
from glotune.stats.temperature import apply_temperature, cross_fit, fit_temperature, fit_threshold


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def calibrated(num_texts=4000, seed=0):
    """Labels drawn from the model's own probabilities, and the logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_texts, 3)) * 1.5
    labels = (softmax(logits).cumsum(axis=1) < rng.random((num_texts, 1))).sum(axis=1)
    return labels, logits


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_the_true_temperature_is_found(true_temperature):
    labels, logits = calibrated()
    too_sharp = outcomes(labels, softmax(logits * true_temperature))
    fit = fit_temperature(too_sharp)
    assert fit.temperature == pytest.approx(true_temperature, rel=0.07)
    assert fit.loss_after <= fit.loss_before + 1e-12
    assert fit.ece_after < 0.03
    assert fit.reason is None


def test_scaling_keeps_every_prediction_and_inverts():
    probabilities = softmax(np.random.default_rng(1).normal(size=(50, 4)) * 5)
    scaled = apply_temperature(probabilities, 2.5)
    assert np.array_equal(scaled.argmax(axis=1), probabilities.argmax(axis=1))
    assert np.allclose(apply_temperature(scaled, 1 / 2.5), probabilities)
    assert np.isfinite(apply_temperature(np.array([[1.0, 0.0]]), 2.0)).all()


def test_a_set_without_errors_fits_nothing():
    labels = np.arange(40) % 2
    fit = fit_temperature(outcomes(labels, np.where(np.eye(2)[labels] > 0, 0.9, 0.1)))
    assert fit.temperature == 1.0
    assert fit.loss_after == fit.loss_before
    assert "all 40 validation texts are right" in fit.reason


def test_a_model_that_is_worse_than_guessing_fits_nothing():
    labels = np.arange(40) % 2
    fit = fit_temperature(outcomes(labels, np.where(np.eye(2)[1 - labels] > 0, 0.9, 0.1)))
    assert fit.temperature == 1.0
    assert "outside" in fit.reason


def test_a_diverged_model_is_refused():
    with pytest.raises(UserError, match="not finite"):
        fit_temperature(outcomes([0], [[np.nan, np.nan]]))


def test_the_best_threshold_beats_every_other():
    rng = np.random.default_rng(2)
    labels = (rng.random(400) < 0.15).astype(int)
    positive = 1 / (1 + np.exp(-(rng.normal(size=400) + 1.5 * labels - 2)))
    made = outcomes(labels, np.column_stack([1 - positive, positive]))
    fit = fit_threshold(made, "macro_f1")

    def score(threshold):
        return f1_score(labels, positive >= threshold, average="macro", zero_division=0)

    assert fit.value == pytest.approx(score(fit.threshold))
    assert fit.value_at_half == pytest.approx(score(0.5))
    assert fit.value == pytest.approx(max(score(each) for each in np.unique(positive)))
    assert fit.threshold < 0.5


def test_what_a_fit_brings_is_measured_on_other_texts():
    """No skill at all: the best of all thresholds looks good on its own texts, and brings nothing on others."""
    own, apart = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        labels, positive = rng.integers(2, size=60), rng.random(60)
        made = outcomes(labels, np.column_stack([1 - positive, positive]))
        own.append(fit_threshold(made, "mcc").value)
        apart.append(cross_fit(made, "mcc").value)
    assert np.mean(own) > 0.15
    assert abs(np.mean(apart)) < 0.07


def test_a_cross_fit_is_close_to_the_truth_and_needs_enough_texts():
    labels, logits = calibrated()
    sharp = outcomes(labels, softmax(logits * 2.0))
    found, fit = cross_fit(sharp), fit_temperature(sharp)
    assert fit.loss_after <= found.loss < fit.loss_before
    assert found.loss == pytest.approx(fit.loss_after, rel=0.005)
    assert found.value is None
    assert cross_fit(outcomes(labels[:19], softmax(logits[:19]))) is None


@pytest.mark.parametrize("classes", [2, 3])
def test_a_text_of_weight_two_fits_as_two_such_texts(classes):
    labels, logits = calibrated(300)
    labels, probabilities = np.minimum(labels, classes - 1), softmax(logits[:, :classes] * 2)
    weights = np.random.default_rng(4).integers(1, 5, len(labels))
    again = np.repeat(np.arange(len(labels)), weights)
    weighted = outcomes(labels, probabilities, weight_B=weights)
    repeated = outcomes(labels[again], probabilities[again])
    ours, theirs = fit_temperature(weighted), fit_temperature(repeated)
    assert ours.temperature == pytest.approx(theirs.temperature, rel=1e-4)
    assert ours.loss_after == pytest.approx(theirs.loss_after)
    assert ours.ece_after == pytest.approx(theirs.ece_after, rel=1e-3)
    assert ours.loss_before != pytest.approx(fit_temperature(outcomes(labels, probabilities)).loss_before, rel=1e-3)
    if classes == 2:
        assert fit_threshold(weighted, "mcc") == fit_threshold(repeated, "mcc")
    once, plain = outcomes(labels, probabilities, weight_B=np.ones(300)), outcomes(labels, probabilities)
    metric = "mcc" if classes == 2 else None
    assert cross_fit(once, metric).value == cross_fit(plain, metric).value
    assert cross_fit(weighted, metric) != cross_fit(plain, metric)


def test_a_threshold_needs_two_classes():
    with pytest.raises(UserError, match="3 classes"):
        fit_threshold(outcomes([0], [[0.2, 0.3, 0.5]]))
