"""fp16: the loss is scaled so that gradients stay in its range, and a step that overflows is no fault of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from glotune.engine import plan as planning
from glotune.engine.optimizer import LossScale
from glotune.engine.step import Stepper
from glotune.errors import RunError
from glotune.model.card import Card
from glotune.run.directory import RunDirectory
from glotune.verbs.resume import resume
from glotune.verbs.train import train
from small_runs import small_recipe


def test_the_scale_falls_where_gradients_overflow_and_rises_after_many_steps() -> None:
    scale = LossScale(8.0)
    assert not scale.overflows(1.0, 0.5)
    assert scale.overflows(1.0, float("inf"))
    assert (scale.factor, scale.good_steps) == (4.0, 0)
    assert scale.overflows(1.0, float("nan"))
    assert not scale.overflows(float("nan"), float("nan")), "the loss itself is no number: no scale helps"
    assert scale.factor == 2.0
    for _ in range(LossScale.PATIENCE):
        scale.overflows(1.0, 1.0)
    assert (scale.factor, scale.good_steps) == (4.0, 0)
    smallest = LossScale(1.0)
    assert not smallest.overflows(1.0, float("inf")), "the gradient itself is not finite"


def test_gradients_are_divided_where_they_are() -> None:
    weight, unused = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.full((3,), 32.0)
    LossScale(16.0).divide([weight, unused])
    assert weight.grad.tolist() == [2.0, 2.0, 2.0]


@pytest.fixture
def tensor_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that may take fp16, as a Turing GPU does."""
    monkeypatch.setattr(planning, "has_precision", lambda precision, card: precision != "bf16")
    monkeypatch.setattr("glotune.engine.assembly.has_precision", lambda precision, card: True)


def losses(run: RunDirectory) -> dict[int, float]:
    return {event.step: event.data["loss"] for event in run.events() if event.kind == "step"}


@pytest.mark.usefixtures("tensor_cores")
def test_a_run_in_fp16_is_one_in_fp32_to_its_precision(tmp_path: Path) -> None:
    found = []
    for precision in ("fp32", "fp16"):
        recipe = small_recipe(tmp_path, model__dropout=0.0, train__precision=precision)
        found.append(losses(train(recipe, out=tmp_path / precision, report=False).directory))
    plan = RunDirectory.open(tmp_path / "fp16").read_manifest().plan
    assert plan is not None
    assert plan.precision == "fp16"
    shared = sorted(found[0].keys() & found[1].keys())
    assert len(shared) >= 6
    assert [found[1][step] for step in shared] == pytest.approx([found[0][step] for step in shared], abs=2e-2)


@pytest.mark.usefixtures("tensor_cores")
def test_an_overflow_is_no_fault_and_the_scale_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain: Any = LossScale.divide
    steps = {"count": 0}

    def divide(self: LossScale, parameters: Any) -> None:
        steps["count"] += 1
        parameters = list(parameters)
        if steps["count"] in (2, 3):
            parameters[0].grad.fill_(float("inf"))
        plain(self, parameters)

    monkeypatch.setattr(LossScale, "divide", divide)
    recipe = small_recipe(tmp_path, train__precision="fp16", checkpoints__every=1, checkpoints__keep=20)
    run = train(recipe, out=tmp_path / "run", report=False)
    assert sorted(losses(run.directory)) == [1, 4, 5, 6, 7, 8]
    assert "step 2: gradients beyond fp16's range, no update; the loss is scaled by 32768 from here on" in (
        run.directory.log.read_text()
    )
    assert run.manifest.verdict is not None
    assert run.manifest.verdict.status != "diverged"
    assert not any(event.kind == "alert" for event in run.directory.events())
    state = max(run.directory.checkpoints.glob("step-*")) / "state.json"
    assert '"loss_scale": 16384.0' in state.read_text()


@pytest.mark.usefixtures("tensor_cores")
def test_resumed_in_fp16_is_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_recipe(tmp_path, train__precision="fp16", checkpoints__every=3)
    whole = train(recipe, out=tmp_path / "whole", report=False)
    plain = Stepper._step

    def step(self: Stepper, prepared: Any, *given: Any) -> Any:
        if prepared.step == 4:
            raise RunError("the test says so")
        return plain(self, prepared, *given)

    monkeypatch.setattr(Stepper, "_step", step)
    with pytest.raises(RunError):
        train(recipe, out=tmp_path / "parts", report=False)
    monkeypatch.setattr(Stepper, "_step", plain)
    again = resume(tmp_path / "parts", report=False)
    assert losses(again.directory) == losses(whole.directory)


def test_a_cpu_is_not_asked_for_fp16() -> None:
    assert not planning.has_precision("fp16", Card("cpu"))
