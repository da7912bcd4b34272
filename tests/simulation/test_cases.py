"""Every case of docs/how/claims.md with fewer repetitions: false support within what 5 % would give by chance."""

import pytest
from scipy.stats import binom
from tests.simulation import cases


def most(repeats, rate):
    """The count that a rate exceeds once in a thousand runs of the suite."""
    return binom.ppf(0.999, repeats, rate) / repeats


@pytest.mark.parametrize(
    ("case", "repeats"),
    [
        (cases.copies_of_texts, 200),
        (cases.eight_parallel_languages, 120),
        (cases.nearly_all_right, 200),
        (cases.minority_nearly_all_right, 200),
    ],
)
def test_false_claims_are_seldom_supported(case, repeats):
    assert case(repeats) <= most(repeats, 0.05)


@pytest.mark.extras
def test_an_unstable_variant_is_the_case_that_fails_and_how_often_is_stated():
    """Three seeds without a bad one look like a better variant: nothing computed from them can tell."""
    rate = cases.unstable_variant(150, 3000)
    assert 0.05 < rate <= most(150, 0.25)


@pytest.mark.parametrize("case", [cases.recall_of_a_class, cases.auc_near_one])
def test_intervals_of_the_nearly_perfect_cover(case):
    assert case(150) >= 1 - most(150, 0.05)


def test_borrowed_spread_finds_more_and_errs_no_more():
    alike = [1] * 6
    assert cases.borrowed_spread(600, 0.0, alike) <= most(600, 0.025)
    alone, borrowed = (cases.borrowed_spread(600, 2.0, alike, borrow=borrow) for borrow in (False, True))
    assert borrowed > alone + 0.08


def test_a_noisy_variant_among_calm_ones_is_where_borrowing_fails_and_how_often_is_stated():
    assert cases.borrowed_spread(600, 0.0, [3, 1, 1, 1, 1, 1]) <= most(600, 0.06)


def test_the_lead_of_the_best_of_equals_shrinks():
    measured, shrunken = cases.lead_of_the_best(60)
    assert measured > 1.0
    assert shrunken < 0.55 * measured
