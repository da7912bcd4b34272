"""What the overhead benchmark makes of its samples."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.overhead import WARM_UP, Measured, _Beside, table


def test_the_table_sets_watched_trainings_against_those_alone() -> None:
    rows = [
        Measured(False, 0.100, 0.0003, 0.0, 0.0, 0.0),
        Measured(True, 0.101, 0.0003, 0.005, 0.002, 1.5),
        Measured(False, 0.102, 0.0003, 0.0, 0.0, 0.0),
        Measured(True, 0.103, 0.0003, 0.007, 0.002, 2.5),
    ]
    shown = table(rows)
    assert "| alone | 100.0 | 0.30% | - | - |" in shown
    assert "| watched | 103.0 | 0.29% | 0.70% | 0.20% |" in shown
    assert "+0.99% per step; equal trainings differ by up to 2.00%" in shown
    assert "2.0 processor seconds" in shown


def test_shares_begin_behind_the_start_and_end_with_the_last_step() -> None:
    beside = _Beside(Path("nowhere"), watched=False)
    beside.watched = True
    beside.samples = [(10, 1.0, 2.0), (WARM_UP, 1.5, 2.5), (WARM_UP + 100, 1.7, 2.6), (WARM_UP + 100, 9.0, 9.0)]
    assert beside.shares(20.0) == pytest.approx((0.01, 0.005, 4.0))
    beside.samples = beside.samples[:1]
    with pytest.raises(RuntimeError, match="measure more epochs"):
        beside.shares(20.0)
