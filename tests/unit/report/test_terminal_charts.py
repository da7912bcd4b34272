"""Curves in text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glotune.report.figures.growing import curve_of
from glotune.report.terminal import plot, sparkline, thin

FINITE = st.floats(-1e6, 1e6)
ANY = st.one_of(FINITE, st.just(math.nan), st.just(math.inf))


def test_a_rising_line_rises() -> None:
    drawn = plot(curve_of((step, step) for step in range(100)), 40, 5, plain=True)
    marks = [[at for at, sign in enumerate(line) if sign == "*"] for line in drawn[:-1]]
    assert [min(row) for row in marks] == sorted((min(row) for row in marks), reverse=True)
    assert drawn[0].startswith("99 |")
    assert drawn[4].startswith(" 0 |")
    assert drawn[-1].split() == ["0", "99"]


@given(st.lists(st.tuples(FINITE, ANY), max_size=300), st.integers(20, 120), st.integers(2, 12), st.booleans())
def test_any_curve_fits_its_box(points: list[tuple[float, float]], width: int, height: int, plain: bool) -> None:
    lines = plot(curve_of(points), width, height, plain=plain)
    if lines == ["no data yet"]:
        assert not any(math.isfinite(y) for _, y in points)
        return
    assert len(lines) == height + 1
    assert all(len(line) <= max(width, 28) for line in lines)
    assert any(sign not in " |│" for line in lines[:-1] for sign in line)
    if plain:
        assert "".join(lines).isascii()


@given(st.lists(ANY, max_size=200), st.integers(1, 60))
def test_sparklines_keep_the_last_value_and_the_width(values: list[float], width: int) -> None:
    drawn = sparkline(values, width, -1e6, 1e6)
    assert len(drawn) == min(width, len(values))
    kept = thin(values, width)
    assert not values or kept[-1] is values[-1]


def test_sparkline_signs() -> None:
    assert sparkline([0, 0.5, 1, math.nan], 10, 0, 1) == "▁▅█ "
    assert sparkline([0, 1], 10, 0, 1, plain=True) == "_#"
    assert sparkline([0.3, 0.3], 10, 0.3, 0.3) == "▁▁"


@pytest.mark.parametrize("count", [1, 2])
def test_few_points_are_a_curve_too(count: int) -> None:
    assert len(plot(curve_of((step, 0.5) for step in range(count)), 40, 4)) == 5
