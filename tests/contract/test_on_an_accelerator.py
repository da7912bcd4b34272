"""A whole step, an evaluation and a prediction on an accelerator: never a wait of the host but the one, no float64, few
kernels. On ``torch.device("meta")``, which knows shapes alone: what a GPU answers is checked where there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accelerator_guard import META, Guard, HostWaits, as_a_gpu
from contract.test_tasks import TASKS, recorder_in
from glotune.engine.checkpoints import CheckpointStore
from glotune.engine.forward import evaluate
from glotune.engine.loop import build_loop
from glotune.engine.parts import Parts
from glotune.engine.processes import Control, Processes
from glotune.engine.step import Stepper
from glotune.model.packed.kernels import PADDED, Kernels

make_parts = pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
every_kernel = pytest.mark.parametrize("kernels", [Kernels("flash", "flash"), PADDED], ids=["varlen", "padded"])


def moved(parts: Parts, kernels: Kernels) -> Parts:
    """The parts on a device that computes shapes alone."""
    parts.network.to(META)
    parts.network.kernels = kernels
    return replace(parts, processes=Processes(0, 1, META))


def stepper_of(parts: Parts, folder: Path, budget: int) -> Stepper:
    stepper = build_loop(parts, None, recorder_in(folder), CheckpointStore(folder / "none", 1), Control()).stepper
    stepper.token_budget = budget
    return stepper


@every_kernel
@make_parts
def test_the_host_waits_once_in_a_step(
    make: Callable[[Path], Parts], kernels: Kernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = as_a_gpu(monkeypatch)
    parts = moved(make(tmp_path), kernels)
    stepper = stepper_of(parts, tmp_path, 64)
    prepared = stepper._prepared(0, parts.epoch(0)[0])
    assert len(prepared.micro_batches) > 1
    with Guard() as guard:
        outcome = stepper._step(prepared, 0.0, 0.0)
    assert fetched == [(2 + parts.task.num_sums,)], "loss, the task's sums and the norm, in one copy"
    assert outcome.is_finite
    assert guard.kernels["_fused_adamw_"] >= 1, "the update was made"


@every_kernel
@make_parts
def test_the_host_waits_once_in_a_pass_of_an_evaluation(
    make: Callable[[Path], Parts], kernels: Kernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = as_a_gpu(monkeypatch)
    parts = moved(make(tmp_path), kernels)
    parts = replace(parts, plan=parts.plan.model_copy(update={"token_budget": 64}))
    with Guard():
        answers = evaluate(parts, "validation", recorder_in(tmp_path))
    passes = parts.task.passes("validation")
    assert fetched == [(len(parts.stores["validation"]), each.width) for each in passes]
    assert [each.shape for each in answers] == fetched
    assert all(each.dtype == np.float64 for each in answers)


def test_the_guard_sees_what_it_is_for() -> None:
    values = torch.zeros(3, device=META)
    refused: dict[str, Callable[[], Any]] = {
        "asks for a value": lambda: values.sum().item(),
        "counts": lambda: torch.bincount(torch.zeros(3, dtype=torch.long, device=META)),
        "takes by a mask": lambda: values[values > 0],
        "repeats without a size": lambda: torch.repeat_interleave(torch.zeros(3, dtype=torch.long, device=META)),
        "copies and waits": lambda: torch.zeros(3).to(META),
    }
    for name, work in refused.items():
        with Guard(), pytest.raises((HostWaits, RuntimeError)):
            work()
            raise RuntimeError(name) if name == "" else AssertionError(f"not seen: {name}")
    with Guard(), pytest.raises(AssertionError, match="float64"):
        values.double()
