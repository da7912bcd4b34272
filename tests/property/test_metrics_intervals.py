import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from glotune.run.records import Verdict
from glotune.stats.confusion import COUNT_METRICS
from glotune.stats.contrasts import contrast_of_values
from glotune.stats.count_bootstrap import resample_counts
from glotune.stats.hypothesis_tests import benjamini_hochberg, holm
from glotune.stats.percentage import percentage_change
from glotune.stats.resampling import combine
from glotune.stats.temperature import apply_temperature

SOUND = Verdict(status="sound", evidence=[])
counts = (
    st.integers(2, 4)
    .flatmap(lambda size: arrays(np.int64, (size, size), elements=st.integers(0, 30)))
    .filter(lambda confusion: confusion.sum() > 0)
)
shares = st.lists(st.floats(0, 1), min_size=1, max_size=8)
seed_values = st.lists(st.floats(0, 1), min_size=2, max_size=5)


@settings(deadline=None)
@given(counts, st.integers(0, 5))
def test_an_interval_holds_its_estimate_and_stays_in_range(confusion, seed):
    for name, resampled in resample_counts(confusion, list(COUNT_METRICS), seed=(seed,), resamples=100).items():
        interval = resampled.interval()
        assert interval.low <= resampled.estimate <= interval.high, name
        assert interval.low >= -1.0 - 1e-9, name
        assert interval.high <= 1.0 + 1e-9, name


@settings(deadline=None)
@given(counts)
def test_a_higher_level_is_never_narrower(confusion):
    resampled = resample_counts(confusion, ["macro_f1"], seed=(0,), resamples=200)["macro_f1"]
    inner, outer = resampled.interval(0.8), resampled.interval(0.95)
    assert outer.low <= inner.low + 1e-12
    assert inner.high <= outer.high + 1e-12


@settings(deadline=None)
@given(counts)
def test_a_sum_of_one_number_is_that_number(confusion):
    part = resample_counts(confusion, ["accuracy"], seed=(0,), resamples=100)["accuracy"]
    assert combine([part], [1.0]).interval() == part.interval()


@settings(deadline=None)
@given(seed_values, seed_values)
def test_turning_a_contrast_round_turns_its_sign_only(first, second):
    there, back = contrast_of_values([first, second], [1, -1]), contrast_of_values([second, first], [1, -1])
    assert np.isclose(there.estimate, -back.estimate)
    assert np.isclose(there.half_width(0.95), back.half_width(0.95))
    assert np.isclose(there.p_value(), back.p_value())


@settings(deadline=None)
@given(seed_values, seed_values, st.floats(0.01, 0.99))
def test_a_p_value_and_an_interval_never_disagree(first, second, level):
    found = contrast_of_values([first, second], [1, -1], text_variance=1e-4, text_df=100)
    p_value, reach = float(found.p_value()), float(found.half_width(level)) - abs(float(found.estimate))
    if abs(reach) > 1e-6:
        assert (p_value < 1 - level) == (reach < 0)


@settings(deadline=None)
@given(shares)
def test_corrections_keep_order_and_never_lower_a_p_value(p_values):
    for adjusted in (holm(p_values), benjamini_hochberg(p_values)):
        assert all(after >= before - 1e-12 for before, after in zip(p_values, adjusted, strict=True))
        order = np.argsort(p_values, kind="stable")
        assert (np.diff(np.array(adjusted)[order]) >= -1e-12).all()
    assert all(a >= b - 1e-12 for a, b in zip(holm(p_values), benjamini_hochberg(p_values), strict=True))


@settings(deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_an_improvement_is_a_positive_percentage(value, reference):
    for metric, better in (("macro_f1", value > reference), ("loss", value < reference)):
        change = percentage_change(metric, value, reference, value_verdict=SOUND, reference_verdict=SOUND)
        assert (change.percent > 0) == better, metric


@settings(deadline=None)
@given(arrays(np.float64, (5, 3), elements=st.floats(-30, 30)), st.floats(0.1, 10))
def test_a_temperature_keeps_rows_that_sum_to_one(logits, temperature):
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert np.allclose(apply_temperature(probabilities, temperature).sum(axis=1), 1.0)
