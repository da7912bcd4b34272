import math

import pytest

from glotune.errors import UserError
from glotune.run.records import Verdict
from glotune.stats.percentage import HalfWidths, percentage_change

SOUND, COLLAPSED = Verdict(status="sound", evidence=[]), Verdict(status="collapsed", evidence=["one class"])


def change(metric, value, reference, ours=SOUND, theirs=SOUND):
    return percentage_change(metric, value, reference, value_verdict=ours, reference_verdict=theirs)


def test_both_formulas_are_positive_for_an_improvement():
    assert change("macro_f1", 0.6, 0.5).percent == pytest.approx(20)
    assert change("loss", 0.4, 0.5).percent == pytest.approx(20)
    assert change("loss", 0.4, 0.5).formula == "100 * (reference - value) / reference"
    assert change("texts_per_second", 5, 10).percent == pytest.approx(-50)


def test_a_collapsed_baseline_gives_no_percentage():
    """The LoRA report's '+194.9 %' against a run that answered one class."""
    answer = change("macro_f1", 0.6049, 0.2051, theirs=COLLAPSED)
    assert answer.percent is None
    assert "reference run collapsed" in answer.reason


@pytest.mark.parametrize("status", ["improving", "overfit"])
def test_a_run_that_can_still_improve_is_compared(status):
    assert change("accuracy", 0.6, 0.5, ours=Verdict(status=status, evidence=[])).percent is not None


@pytest.mark.parametrize(
    ("value", "reference", "ours", "reason"),
    [
        (0.5, 0.4, None, "this run has no verdict"),
        (0.5, 0.4, Verdict(status="diverged", evidence=[]), "this run diverged"),
        (None, 0.4, SOUND, "this run has no mcc"),
        (0.4, math.nan, SOUND, "reference run has no mcc"),
        (0.4, 0.0, SOUND, "nothing to divide by"),
        (0.4, -0.1, SOUND, "nothing to divide by"),
    ],
)
def test_what_can_t_be_compared_says_why(value, reference, ours, reason):
    answer = change("mcc", value, reference, ours=ours)
    assert answer.percent is None
    assert reason in answer.reason


def test_a_change_that_may_be_chance_is_none():
    answer = percentage_change(
        "accuracy", 0.51, 0.5, value_verdict=SOUND, reference_verdict=SOUND, chance="the difference lies within chance"
    )
    assert (answer.percent, answer.interval) == (None, None)
    assert answer.reason == "the difference lies within chance"


def test_the_interval_holds_what_is_uncertain_of_the_reference_too():
    """Two independent scores of half width 0.03: their difference has sqrt(2) of it."""
    widths = HalfWidths(value=0.03, reference=0.03, difference=0.03 * math.sqrt(2))

    def interval(metric, value, reference):
        return percentage_change(
            metric, value, reference, value_verdict=SOUND, reference_verdict=SOUND, widths=widths
        ).interval

    gain = interval("accuracy", 0.6, 0.5)
    assert (gain.low + gain.high) / 2 == pytest.approx(20)
    assert (gain.high - gain.low) / 2 == pytest.approx(100 * math.hypot(0.03 / 0.5, 0.6 * 0.03 / 0.5**2))
    lost = interval("loss", 0.6, 0.5)  # the same growth, and worse
    assert (lost.low, lost.high) == (pytest.approx(-gain.high), pytest.approx(-gain.low))


def test_an_unknown_metric_is_refused():
    with pytest.raises(UserError, match="Did you mean"):
        change("macro_f", 1, 1)
