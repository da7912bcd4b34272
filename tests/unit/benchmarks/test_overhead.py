"""What the overhead benchmark makes of its samples."""

from __future__ import annotations

import pytest
from benchmarks.overhead import WARM_UP, Measured, shared, table
from benchmarks.watchers import Sample


def test_the_table_sets_watched_trainings_against_those_alone() -> None:
    def watched(step: float, monitor: float) -> Measured:
        shares = {"monitor": monitor, "web": 0.001, "tracker": 0.002}
        return Measured(True, step, 0.0003, shares, {name: 2 * share for name, share in shares.items()}, 100 * step - 8)

    rows = [Measured(False, 0.1, 0.0003), watched(0.101, 0.005), Measured(False, 0.102, 0.0003), watched(0.103, 0.007)]
    shown = table(rows)
    assert "| | ms per step | records | monitor | web | tracker |" in shown
    assert "| alone | 100.0 | 0.30% | - | - | - |" in shown
    assert "| watched | 103.0 | 0.29% | 0.70% | 0.10% | 0.20% |" in shown
    assert "+0.99% per step; equal trainings differ by up to 2.00%" in shown
    assert "worst ten seconds: monitor 1.40%, web 0.20%, tracker 0.40%" in shown
    assert "2.2 processor seconds" in shown


def sample(steps: int, time: float, monitor: float) -> Sample:
    return Sample(steps, time, {"monitor": monitor, "web": 0.5, "tracker": time / 100})


def test_shares_begin_behind_the_start_and_end_with_the_last_step() -> None:
    calm = [sample(WARM_UP + second, float(second), 1.5 + 0.001 * second) for second in range(10)]
    busy = [sample(WARM_UP + second, float(second), 1.5 + 0.01 * (second - 9)) for second in range(10, 30)]
    samples = [sample(10, -5.0, 1.0), *calm, *busy, sample(busy[-1].steps, 90.0, 9.0)]
    row = shared(Measured(True, 0.04, 0.0001), samples)
    assert row.shares == pytest.approx({"monitor": 0.2 / 29, "web": 0.0, "tracker": 0.01})
    assert row.worst == pytest.approx({"monitor": 0.01, "web": 0.0, "tracker": 0.01})
    assert row.start == pytest.approx(1.5 + 0.5 + 0.0)
    for short in (samples[:1], samples[:2]):
        with pytest.raises(RuntimeError, match="measure more epochs"):
            shared(Measured(True, 0.04, 0.0001), short)
