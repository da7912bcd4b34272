"""Curves that grow: small whatever comes, and true to it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glotune.report.figures.growing import MOST, Growing, curve_of

VALUES = st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan)), max_size=3 * MOST)


@given(VALUES)
def test_a_curve_keeps_ends_extremes_and_order(values: list[float]) -> None:
    curve = curve_of(enumerate(values))
    known = [(x, y) for x, y in enumerate(values) if math.isfinite(y)]
    assert len(curve.points) <= MOST + 3
    assert [x for x, _ in curve.points] == sorted(x for x, _ in curve.points)
    if len(known) < MOST:
        assert list(curve.points) == known
    if known:
        assert (curve.points[0], curve.points[-1]) == (known[0], known[-1])
        assert (curve.low, curve.high) == (min(y for _, y in known), max(y for _, y in known))
        assert all(curve.low - 1e-6 <= y <= curve.high + 1e-6 for _, y in curve.points)
    if values:
        assert curve.last == values[-1] or math.isnan(values[-1])


@pytest.mark.parametrize("count", [MOST, 5 * MOST + 7, 100_000])
def test_a_straight_line_stays_one(count: int) -> None:
    growing = Growing()
    for step in range(count):
        growing.add(step, 2.0 * step)
    assert all(y == pytest.approx(2 * x) for x, y in growing.curve().points)
