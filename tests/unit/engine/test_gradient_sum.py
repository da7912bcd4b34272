"""Gradients go out while the last micro-batch is on its way back: once each, in one order, with the step's sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contract.test_tasks import single_label, stepper_of
from glotune.engine import gradient_sum, step
from glotune.engine.gradient_sum import GradientSum
from glotune.engine.processes import Processes

TWO = Processes(0, 2, torch.device("cpu"))


class Done:
    def wait(self) -> None:
        """Nothing is under way."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """What was sent, in its order; another rank has always computed the same."""
    found: list[list[float]] = []

    def all_reduce(tensor: Tensor, async_op: bool = False) -> Done:
        found.append(tensor.tolist())
        tensor.mul_(2.0)
        return Done()

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(torch.distributed, "barrier", lambda: None)
    monkeypatch.setattr(gradient_sum, "BUCKET_BYTES", 8)  # two numbers
    return found


def parameters() -> list[nn.Parameter]:
    """Of three buckets, the last parameter first."""
    return [nn.Parameter(torch.ones(size)) for size in (1, 2, 1, 1)]


def lost(weights: list[nn.Parameter], scale: float) -> Tensor:
    """The last parameter is used last, so its gradient comes first."""
    value = torch.ones(())
    for weight in weights:
        value = (value * weight).sum()
    return value * scale


def test_a_bucket_goes_out_when_the_last_micro_batch_has_added_to_it(sent: list[list[float]]) -> None:
    weights = parameters()
    gradients = GradientSum(TWO, weights)
    gradients.begin()
    with gradients.going_back(is_last=False):
        lost(weights, 1.0).backward()
    assert sent == []
    with gradients.going_back(is_last=True):
        lost(weights, 2.0).backward()
    whole = [weight.grad.clone() for weight in weights]
    assert sent == [[6.0, 6.0], [3.0, 3.0]], "all but the last bucket, head first"
    sums = gradients.finish(torch.tensor([5.0, 7.0]))
    assert sent[2:] == [[6.0, 5.0, 7.0]], "the last bucket takes the sums along"
    assert sums.tolist() == [10.0, 14.0]
    assert all(torch.equal(weight.grad, 2 * before) for weight, before in zip(weights, whole, strict=True))


def test_a_rank_without_texts_sends_zeros_in_the_same_buckets(sent: list[list[float]]) -> None:
    weights = parameters()
    gradients = GradientSum(TWO, weights)
    gradients.begin()
    gradients.finish(torch.tensor([0.0]))
    assert [len(each) for each in sent] == [2, 2, 2]
    assert not any(weight.grad.any() for weight in weights)


def test_sums_of_another_precision_go_by_themselves(sent: list[list[float]]) -> None:
    gradients = GradientSum(TWO, parameters())
    gradients.begin()
    precise = torch.tensor([1.0 + 2**-40], dtype=torch.float64)
    assert gradients.finish(precise).tolist() == [2.0 + 2**-39]
    assert len(sent) == 4


def test_what_was_sent_before_memory_ran_out_is_not_sent_again(sent: list[list[float]]) -> None:
    weights = parameters()
    gradients = GradientSum(TWO, weights)

    def runs_out(grad: Tensor) -> None:
        raise torch.OutOfMemoryError

    gradients.begin()
    handle = weights[1].register_hook(runs_out)
    with pytest.raises(torch.OutOfMemoryError), gradients.going_back(is_last=True):
        lost(weights, 1.0).backward()
    handle.remove()
    before = len(sent)
    for weight in weights:
        weight.grad = None
    for scale, is_last in ((0.25, False), (0.75, True)):
        with gradients.going_back(is_last=is_last):
            lost(weights, scale).backward()
    gradients.finish(torch.tensor([1.0]))
    assert before == 1
    assert [len(each) for each in sent] == [2, 2, 2]
    assert [weight.grad.tolist() for weight in weights] == [[4.0], [2.0, 2.0], [4.0], [4.0]]
    gradients.begin()
    gradients.finish(torch.tensor([1.0]))
    assert len(sent) == 6, "the next step sends all of its own"


def test_one_rank_sends_nothing(sent: list[list[float]]) -> None:
    gradients = GradientSum(replace(TWO, ranks=1), weights := parameters())
    with gradients.going_back(is_last=True):
        lost(weights, 1.0).backward()
    sums = torch.tensor([1.0])
    assert gradients.finish(sums) is sums
    assert sent == []


@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=["accelerator", "host"])
def test_a_step_tells_all_in_the_gradients_sums(
    kind: torch.dtype, sent: list[list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sum a step where the whole of the gradients is one bucket: losses, budgets and the wish to stop in it."""
    monkeypatch.setattr(gradient_sum, "BUCKET_BYTES", 2**26)
    monkeypatch.setattr(step, "sums_dtype", lambda device: kind)
    one = single_label(tmp_path)
    alone = outcome_of(one, tmp_path, lambda: False)
    parts = replace(single_label(tmp_path), processes=TWO)
    monkeypatch.setattr(step, "shard", lambda rows, *given: rows)  # another rank that has the same texts
    outcome = outcome_of(parts, tmp_path, lambda: True)
    assert len(sent) == (1 if kind == torch.float32 else 2)
    assert outcome.asked_to_stop
    assert not alone.asked_to_stop
    assert outcome.loss == pytest.approx(2 * alone.loss, rel=1e-6)
    assert outcome.grad_norm == pytest.approx(2 * alone.grad_norm, rel=1e-5)


def outcome_of(parts: Any, folder: Path, stop: Callable[[], bool]) -> step.StepOutcome:
    stepper = stepper_of(parts, folder, 10**6)
    stepper.stop_requested = stop
    return stepper._step(stepper._prepared(0, parts.epoch(0)[0]), 0.0, 0.0)
