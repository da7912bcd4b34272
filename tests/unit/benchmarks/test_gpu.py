"""The GPU benchmark runs through without a GPU: its logic, at a tiny size."""

from __future__ import annotations

import time

import pytest
import torch
from benchmarks.gpu import report, texts
from benchmarks.gpu.sides import Gated, padded

CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.extras
def test_without_a_gpu_the_script_runs_through_and_says_so() -> None:
    found = list(report.lines())
    assert found[0].startswith("There is no GPU here")
    rows = [line for line in found if line.startswith("| tiny |")]
    assert len(rows) == 4
    assert not any("failed" in row or "time ran out" in row for row in rows), rows
    assert all(row.count("|") == report.HEAD.splitlines()[0].count("|") for row in rows)
    (equal,) = [line for line in found if line.startswith("losses of")]
    assert "fp32" in equal
    assert float(equal.split("at most ")[1].split()[0]) < 1e-5, equal


def test_no_part_is_begun_when_time_is_up() -> None:
    started = time.perf_counter()
    found = list(report.lines(tiny=True, seconds=-1.0))
    assert sum("time ran out" in line for line in found) == 4
    assert time.perf_counter() - started < 60


def test_the_lines_that_decide_come_first() -> None:
    parts = report.full().parts
    assert len(parts) == len({(part.shape, part.dropout, part.batch) for part in parts}) == 12
    assert [(part.shape.name, part.dropout, part.batch) for part in parts[:2]] == [
        ("XLM-R-base", 0.1, 32),
        ("XLM-R-base", 0.1, 512),
    ]


def test_an_error_of_trainer_reaches_who_asked_for_the_step() -> None:
    store = texts.made_texts(texts.TINY[0], 16)
    side = Gated(texts.TINY[0], store, CPU, batch=8, dropout=0.0, precision="fp32")
    assert side.step() > 0
    side._model.forward = lambda **inputs: 1 // 0
    with pytest.raises(ZeroDivisionError):
        side.step()
    side.close()


def test_padding_is_to_the_longest_in_whole_tiles() -> None:
    rows = [{"input_ids": [5] * length, "labels": 1} for length in (3, 11)]
    assert padded(rows, 8)["input_ids"].shape == (2, 16)
    assert padded(rows, 8)["attention_mask"].sum() == 14
    assert padded([{"input_ids": [5] * 127, "labels": 0}], 32)["input_ids"].shape == (1, 128)


def test_a_text_costs_what_its_tokens_do() -> None:
    shape = texts.SHAPES[0]
    once, twice = texts.flops_of(shape, [32] * 8), texts.flops_of(shape, [32] * 16)
    assert twice == pytest.approx(2 * once)
    # 86 M weights in twelve layers: about six operations per weight and token, less the last layer's unused tokens.
    assert once / (8 * 32) == pytest.approx(6 * 85e6, rel=0.1)
