"""What the machine decides, and why: pure choices."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glotune.engine import plan as planning
from glotune.engine.plan import (
    SMALLEST_TOKENS,
    Need,
    choose_budget,
    choose_precision,
    fit_budget,
    keep_threads,
    plan_lines,
    plan_rows,
    time_left,
)
from glotune.model.card import Card
from glotune.run.records import Plan

GB = 10**9


def test_plenty_of_memory_leaves_the_wanted_budget() -> None:
    need = Need(held=GB, fixed=GB, per_token=1e6)
    assert fit_budget(2048, need, 100 * GB) == (2048, None)


@pytest.mark.parametrize(("free_gb", "tokens"), [(5.1, 2048), (5.0, 1024), (3.0, 256), (2.7, 128)])
def test_short_memory_halves_it(free_gb: float, tokens: int) -> None:
    need = Need(held=GB, fixed=GB, per_token=1e6)
    found, why = fit_budget(2048, need, int(free_gb * GB))
    assert found == tokens
    assert (why is None) == (tokens == 2048)
    assert why is None or "2048 for full speed" in why


def test_no_memory_at_all_is_said_and_still_planned() -> None:
    found, why = fit_budget(2048, Need(held=GB, fixed=0, per_token=1.0), 0)
    assert (found, why) == (SMALLEST_TOKENS, "memory is short: even this may not fit into what is free")


@given(
    wanted=st.integers(128, 10**6),
    per_token=st.floats(0, 1e7),
    held=st.integers(0, 10**11),
    free=st.integers(0, 10**12),
)
def test_the_budget_is_the_wanted_one_halved_and_the_largest_that_fits(
    wanted: int, per_token: float, held: int, free: int
) -> None:
    need = Need(held=held, fixed=0, per_token=per_token)
    tokens, why = fit_budget(wanted, need, free)
    halvings = [wanted >> times for times in range(20)]
    assert tokens in halvings
    fits = need.under(tokens) <= planning.MEMORY_SHARE * free
    assert fits or (why is not None and "memory is short" in why)
    if tokens != wanted:
        larger = halvings[halvings.index(tokens) - 1]
        assert need.under(larger) > planning.MEMORY_SHARE * free


def test_the_wanted_budget_follows_device_and_precision() -> None:
    assert choose_budget(Card("cpu"), 768, 12, "fp32")[0] == planning.CPU_TOKENS
    assert choose_budget(Card("cpu"), 768, 12, "bf16")[0] == planning.CPU_TOKENS_BF16


def test_narrow_encoders_stay_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "cpu_has_bf16", lambda: True)
    assert choose_precision("auto", Card("cpu"), planning.NARROW)[0] == "bf16"
    precision, why = choose_precision("auto", Card("cpu"), planning.NARROW - 1)
    assert precision == "fp32"
    assert f"at {planning.NARROW - 1} wide" in why
    assert choose_precision("auto", Card("cuda", capability=(8, 0)), 32)[0] == "bf16"
    monkeypatch.setattr(planning, "cpu_has_bf16", lambda: False)
    assert choose_precision("auto", Card("cpu"), 1024)[0] == "fp32"


def made_plan(**changes: object) -> Plan:
    return Plan(
        device="cpu", precision="bf16", attention="packed_sdpa", token_budget=2048, threads=torch.get_num_threads()
    ).model_copy(update=changes)


def test_the_plan_in_words() -> None:
    wall = {
        "seconds_per_epoch": 200.0,
        "evaluation_seconds_per_epoch": 12.0,
        "tokens_per_second": 12_345.6,
        "cache_seconds": 70.0,
        "seconds": 3909.0,
        "bytes_free": 2e10,
        "bytes_held": 1e9,
        "bytes_per_token": 5e5,
    }
    plan = made_plan(wall=wall, reasons={"prefix_cache": "train: it pays", "threads": "all cores"}, ranks=2)
    lines = plan_lines(plan)
    assert lines[0].startswith("plan: cpu, bf16, attention packed_sdpa, 2048 tokens in a micro-batch")
    assert lines[0].endswith("2 processes")
    assert lines[1] == "plan: frozen prefix: train: it pays"
    assert lines[2] == (
        "expected: about 3 min 20 s an epoch (12,346 tokens/s), 12 s of it for evaluation, about 1 h 5 min in all, at "
        "most 1 min 10 s of it to fill the cache of the frozen prefix"
    )
    rows = dict(plan_rows(plan))
    assert rows["threads"].endswith("all cores")
    assert rows["memory"].startswith("1.9 GiB of 18.6 GiB free: 953.7 MiB for gradients")
    assert rows["processes"] == "2"


def test_a_plan_that_was_not_measured_promises_nothing() -> None:
    assert len(plan_lines(made_plan())) == 1
    assert not {"memory", "expected"} & dict(plan_rows(made_plan())).keys()


def test_a_run_that_goes_on_tells_what_is_left_and_not_what_all_takes() -> None:
    wall = {"seconds_per_epoch": 300.0, "evaluation_seconds_per_epoch": 0.0, "tokens_per_second": 1.0,
            "cache_seconds": 0.0, "seconds": 3000.0}  # fmt: skip
    plan = made_plan(wall=wall)
    assert any("in all" in line for line in plan_lines(plan))
    assert not any("in all" in line for line in plan_lines(plan, goes_on=True))
    assert time_left(plan, 90, 100) == ", about 5 min left"
    assert time_left(plan, 100, 100) == time_left(made_plan(), 90, 100) == ""


def test_a_resume_keeps_the_threads_of_its_plan_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    here, told = torch.get_num_threads(), []
    monkeypatch.setenv("OMP_NUM_THREADS", str(here))
    try:
        keep_threads(made_plan(), told.append)
        assert told == []
        keep_threads(made_plan(threads=here + 1), told.append)
        assert torch.get_num_threads() == here + 1
        keep_threads(made_plan(threads=here + 1), told.append)
    finally:
        torch.set_num_threads(here)
    assert len(told) == 1
    assert told[0].startswith(f"threads: {here + 1}, as the run began, not the {here} of OMP_NUM_THREADS")
