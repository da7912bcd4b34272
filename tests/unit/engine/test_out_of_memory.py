"""What a run does where memory runs out: nothing is done twice, and nothing is done by halves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contract.test_tasks import recorder_in, single_label, stepper_of
from glotune.data.batches import PackedBatch
from glotune.engine import loop, predict
from glotune.engine.forward import evaluate
from glotune.engine.optimizer import allocate_moments, build_optimizer
from glotune.engine.processes import Processes
from glotune.engine.step import Stepper
from glotune.recipe.schema import Optimizer
from glotune.verbs.predict import load
from glotune.verbs.train import train
from small_runs import small_recipe

SHORT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")


def short_above(monkeypatch: pytest.MonkeyPatch, tokens: int, *, texts: int = 10**6) -> list[int]:
    """Memory for micro-batches of so many tokens, and texts, in training; returns the tokens of each that was tried."""
    tried: list[int] = []
    plain = Stepper._part

    def part(self: Stepper, step: int, objective: Any, number: int, micro: Any) -> Any:
        tried.append(micro.num_tokens)
        if micro.num_tokens > tokens or len(micro) > texts:
            raise SHORT
        return plain(self, step, objective, number, micro)

    monkeypatch.setattr(Stepper, "_part", part)
    return tried


def trained_for(folder: Path, steps: int, budget: int) -> tuple[list[float], Stepper]:
    """The loss of each step."""
    parts = single_label(folder)
    stepper = stepper_of(parts, folder, budget)
    return [outcome.loss for _, _, outcome in stepper.run(enumerate(parts.epoch(0)[:steps]))], stepper


def test_a_cut_that_was_read_ahead_is_cut_again_before_it_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next step's cut was made under the old budget: tried as it is, it would halve the budget once more."""
    whole, _ = trained_for(tmp_path / "whole", 3, 512)
    tried = short_above(monkeypatch, 130)
    cut, stepper = trained_for(tmp_path / "cut", 3, 512)
    halvings = [line for line in stepper.deviations if "halved" in line]
    assert all(line.startswith("step 0") for line in halvings), stepper.deviations
    assert sum(tokens > 130 for tokens in tried) == len(halvings), "no later step ran out"
    assert cut == pytest.approx(whole, abs=1e-5), "the same updates"


def test_moments_are_there_before_the_first_step(tmp_path: Path) -> None:
    stepper = stepper_of(single_label(tmp_path), tmp_path, 512)
    expected = torch.optim.AdamW([weight := torch.nn.Parameter(torch.ones(2, 3))], fused=True)
    weight.grad = torch.zeros_like(weight)
    expected.step()
    for group in stepper.optimizer.param_groups:
        for parameter in group["params"]:
            state = stepper.optimizer.state[parameter]
            assert state.keys() == expected.state[weight].keys()
            assert {key: value.dtype for key, value in state.items()} == {
                key: value.dtype for key, value in expected.state[weight].items()
            }
            assert not any(value.any() for value in state.values())
    restored = {"step": torch.tensor(4.0), "exp_avg": torch.ones(2, 3), "exp_avg_sq": torch.ones(2, 3)}
    optimizer = build_optimizer([{"params": [weight], "names": ["weight"], "weight_decay": 0.0}], Optimizer())
    optimizer.state[weight] = restored
    allocate_moments(optimizer)
    assert optimizer.state[weight] is restored, "a resume has its own"


def test_a_gpu_begins_with_the_longest_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its allocator keeps blocks: those of the longest texts serve all others, the other way round it takes both."""
    parts = single_label(tmp_path)
    longest: dict[str, list[int]] = {}
    monkeypatch.setattr(PackedBatch, "pinned", lambda self: self)
    for device in ("cpu", "cuda"):
        there = replace(parts, processes=Processes(0, 1, torch.device(device)))
        stepper = Stepper(there, *[None] * 3, token_budget=64)  # type: ignore[arg-type]
        cut = stepper._load(there.task.objective(0, there.epoch(0)[0]))
        longest[device] = [max(micro.lengths) for micro in cut]
    assert longest["cpu"] == sorted(longest["cpu"])
    assert longest["cuda"] == longest["cpu"][::-1]
    assert longest["cpu"][0] < longest["cpu"][-1]


def test_the_probes_blocks_are_given_back_before_moments_take_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(loop, "give_back", lambda device: done.append(f"given back on {device}"))
    monkeypatch.setattr(loop, "allocate_moments", lambda optimizer: done.append("moments"))
    stepper_of(single_label(tmp_path), tmp_path, 512)
    assert done == ["given back on cpu", "moments"]


def test_an_update_is_never_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails in the update, half of it done, is an error, and no reason to begin the step again."""
    stepper = stepper_of(parts := single_label(tmp_path), tmp_path, 512)
    calls: list[int] = []

    def step(*given: Any) -> None:
        calls.append(1)
        raise SHORT

    monkeypatch.setattr(stepper.optimizer, "step", step)
    with pytest.raises(torch.OutOfMemoryError):
        list(stepper.run(enumerate(parts.epoch(0)[:1])))
    assert len(calls) == 1


def test_before_giving_up_the_activations_are_computed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = trained_for(tmp_path / "whole", 2, 512)
    plain, seen = Stepper._part, []

    def part(self: Stepper, step: int, objective: Any, number: int, micro: Any) -> Any:
        if not self.parts.network._recomputes:
            raise SHORT
        seen.append(len(micro))
        return plain(self, step, objective, number, micro)

    monkeypatch.setattr(Stepper, "_part", part)
    twice, stepper = trained_for(tmp_path / "twice", 2, 64)
    assert "step 0: out of memory, activations are computed twice from here on" in stepper.deviations
    assert set(seen) == {1}
    assert twice == pytest.approx(whole, abs=1e-5)
    monkeypatch.setattr(Stepper, "_part", lambda *given: (_ for _ in ()).throw(SHORT))
    with pytest.raises(torch.OutOfMemoryError):
        trained_for(tmp_path / "never", 1, 64)


def test_ranks_go_on_under_the_least_of_their_budgets(tmp_path: Path) -> None:
    stepper = stepper_of(single_label(tmp_path), tmp_path, 512)
    own = stepper.parts.processes
    object.__setattr__(stepper.parts, "processes", Processes(1, 3, own.device))
    stepper.stop_requested = lambda: True
    sums = torch.zeros(2, dtype=torch.float64)
    assert stepper._told(sums).tolist() == [1.0, 0.0, 512.0, 0.0]
    assert stepper._heard([7.0, 2.0, 512.0, 512.0, 512.0]) == ([7.0], True)
    assert stepper.token_budget == 512
    assert stepper._heard([7.0, 0.0, 512.0, 512.0, 256.0]) == ([7.0], False)
    assert stepper.token_budget == 256
    assert stepper.deviations == ["another rank ran out of memory: token budget lowered to 256"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    return train(small_recipe(folder, train__epochs=1), out=folder / "run", report=False).path


def test_a_prediction_is_made_again_cut_smaller(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"good food number {number}" for number in range(40)]
    expected = load(trained).predict_proba(texts)
    plain, tried = predict.forward, []

    def forward(batches: Any, *given: Any, **named: Any) -> Any:
        for batch, found in plain(batches, *given, **named):
            tried.append(batch.num_tokens)
            if batch.num_tokens > 60:
                raise SHORT
            yield batch, found

    monkeypatch.setattr(predict, "forward", forward)
    predictor = load(trained)
    assert np.abs(predictor.predict_proba(texts) - expected).max() < 1e-6
    assert predictor.engine.model.token_budget <= 64
    before = sum(tokens > 60 for tokens in tried)
    predictor.predict_proba([f"bad {text}" for text in texts])
    assert sum(tokens > 60 for tokens in tried) == before, "later texts begin with what fits"


def test_an_evaluation_is_made_again_cut_smaller_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = single_label(tmp_path)
    recorder = recorder_in(tmp_path)
    expected = evaluate(parts, "validation", recorder)
    plain = type(parts).forward

    def forward(self: Any, batches: Any, through: Any = None) -> Any:
        for batch, found in plain(self, batches, through):
            if len(batch) > 4:
                raise SHORT
            yield batch, found

    monkeypatch.setattr(type(parts), "forward", forward)
    said: list[str] = []
    monkeypatch.setattr(recorder, "deviation", said.append)
    found = evaluate(parts, "validation", recorder)
    assert np.abs(found[0] - expected[0]).max() < 1e-5
    assert said[-1].startswith("out of memory in the evaluation of validation: made again with")
