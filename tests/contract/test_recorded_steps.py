"""Steps as CUDA graphs: few shapes, the same numbers, and nothing in a replay that follows from another batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accelerator_guard import Guard, as_a_gpu
from contract.test_fixed_shapes import FILLED
from contract.test_on_an_accelerator import moved
from contract.test_on_an_accelerator import stepper_of as stepper_on_meta
from contract.test_tasks import assert_close, pretraining, recorder_in, single_label, stepper_of, sums_and_gradients
from encoders import make_encoder
from glotune.engine import fast_paths, graphs
from glotune.engine.fast_paths import with_fast_paths
from glotune.engine.graphs import Graphs, lengths_of
from glotune.engine.parts import Parts
from glotune.model.card import Card
from glotune.model.half_weights import use_cast_once
from glotune.model.packed.kernels import BLOCKS, Kernels
from recording_on_the_cpu import as_recorded_on_a_gpu, record

H200 = Card("cuda", "H200", (9, 0), 140 * 2**30)
make_parts = pytest.mark.parametrize("make", FILLED.values(), ids=FILLED)


@pytest.fixture(autouse=True)
def few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "SHAPES", (128, 256))


def recorded(parts: Parts, precision: str = "fp32") -> Parts:
    parts.network.kernels = BLOCKS
    return replace(parts, graphs=Graphs(parts.network, precision, list(parts.trainable.values()), record))


@make_parts
def test_c2_the_update_and_the_sums_are_the_plain_runs(make: Callable[[Path], Parts], tmp_path: Path) -> None:
    plain = make(tmp_path)
    sums, wanted = sums_and_gradients(plain, tmp_path, 10**6)
    parts = recorded(plain)
    with as_recorded_on_a_gpu():
        for budget in (10**6, 64, 64):  # the last replays what the one before it has recorded
            found, gradient = sums_and_gradients(parts, tmp_path, budget)
            assert found == pytest.approx(sums, abs=1e-5)
            assert_close(wanted, gradient)


def test_a_recording_meets_no_parameter_itself(tmp_path: Path) -> None:
    """Autograd holds on to the stream in which it first met one, which a recording must not wait for: on the same
    memory lie tensors that nothing else uses, and no way back is kept."""
    parts = recorded(single_label(tmp_path))
    with as_recorded_on_a_gpu():
        sums_and_gradients(parts, tmp_path, 64)
    assert parts.graphs is not None
    assert parts.graphs._passes
    for passes in parts.graphs._passes.values():
        assert passes._way_back is None
        met, left = set[Any](), [parts.graphs.logits(passes._batch).grad_fn]
        while left:
            node = left.pop()
            if hasattr(node, "variable"):
                met.add(id(node.variable))
            left += [each for each, _ in node.next_functions if each is not None] if node is not None else []
        leaves = parts.graphs._leaves.values()
        assert met <= set(map(id, leaves))
        assert not met & set(map(id, parts.trainable.values()))
        assert {each.data_ptr() for each in leaves} == {each.data_ptr() for each in parts.trainable.values()}


def losses(parts: Parts, folder: Path, budget: int, steps: int) -> list[float]:
    stepper = stepper_of(parts, folder, budget)
    batches = [rows for epoch in range(4) for rows in parts.epoch(epoch)][:steps]
    return [outcome.loss for _, _, outcome in stepper.run(enumerate(batches))]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_losses_are_those_of_steps_that_are_not_recorded(tmp_path: Path, precision: str) -> None:
    """Weights change from step to step: what is recorded must read them, and no cast of them as they were."""
    plain = single_label(tmp_path, optimizer__learning_rate=0.01)
    plain = replace(plain, plan=plain.plan.model_copy(update={"precision": precision}))
    with as_recorded_on_a_gpu():
        expected = losses(plain, tmp_path, 64, 4)
        parts = single_label(tmp_path, optimizer__learning_rate=0.01)
        use_cast_once(parts.network.hf)
        found = losses(replace(recorded(parts, precision), plan=plain.plan), tmp_path, 64, 4)
    assert len({round(loss, 2) for loss in expected}) > 2
    assert found == pytest.approx(expected, abs=1e-4 if precision == "fp32" else 1e-2)


def test_a_run_records_few_shapes_and_larger_batches_go_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = recorded(single_label(tmp_path))
    assert parts.graphs is not None
    made: list[tuple[int, int, int]] = []
    passes = graphs.Passes

    def noted(owner: Graphs, batch: Any, longest: int) -> Any:
        made.append((batch.num_tokens, len(batch), longest))
        return passes(owner, batch, longest)

    monkeypatch.setattr(graphs, "Passes", noted)
    with as_recorded_on_a_gpu():
        found = losses(parts, tmp_path, 10**6, 20)
    assert len(found) == 20 > 2 * len(made)
    assert len(made) == len(set(made)) <= 4
    assert {tokens for tokens, *_ in made} <= {128, 256}
    batch = next(parts.micro_batches("train", np.arange(40), 10**6))
    assert parts.graphs.filled(batch) is batch
    with as_recorded_on_a_gpu():
        plain = parts.network(batch)
        monkeypatch.setattr(parts.graphs, "_recorded", lambda *given: pytest.fail("too large, and recorded"))
        assert torch.equal(parts.graphs(batch), plain)


def test_dropout_follows_the_seed_of_its_micro_batch(tmp_path: Path) -> None:
    def drops(folder: Path) -> list[float]:
        folder.mkdir()
        parts = recorded(single_label(folder))
        for part in parts.network.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.3
        with as_recorded_on_a_gpu():
            return losses(parts, folder, 64, 3)

    first, again = drops(tmp_path / "first"), drops(tmp_path / "again")
    assert first == again
    assert len(set(first)) == len(first)


def test_the_host_waits_once_in_a_recorded_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = as_a_gpu(monkeypatch)
    parts = moved(single_label(tmp_path), Kernels("flash", "flash"))
    made = Graphs(parts.network, "fp32", list(parts.trainable.values()), lambda *works: works)
    parts = replace(parts, graphs=made)
    stepper = stepper_on_meta(parts, tmp_path, 64)
    prepared = stepper._prepared(0, parts.epoch(0)[0])
    with Guard() as guard:
        stepper._step(prepared, 0.0, 0.0)
    assert len(fetched) == 1
    assert guard.kernels["_fused_adamw_"] >= 1
    assert len(made._passes) >= 1


@pytest.mark.parametrize(("texts", "tokens", "longest"), [(64, 512, 8), (64, 512, 32), (2, 512, 512), (512, 512, 1)])
def test_a_shape_has_lengths_of_its_own(texts: int, tokens: int, longest: int) -> None:
    found = lengths_of(texts, tokens, longest)
    assert (len(found), sum(found), max(found)) == (texts, tokens, min(longest, tokens - texts + 1))
    assert min(found) >= 1


# ---- compared before the first step --------------------------------------------------------------------


def checked(folder: Path, monkeypatch: pytest.MonkeyPatch, recorder_of: Any, **overrides: Any) -> tuple[Parts, str]:
    """Parts whose steps are recorded on an H200, if so; and what the record says of it."""
    parts, said = single_label(folder, speed__cuda_graphs=True, **overrides), []
    parts.network.kernels = BLOCKS
    recorder = recorder_in(folder)
    monkeypatch.setattr(fast_paths, "RECORDER", lambda device: recorder_of)
    monkeypatch.setattr(recorder, "deviation", said.append)
    randomness = torch.random.get_rng_state()
    with as_recorded_on_a_gpu():
        found = with_fast_paths(parts, H200, recorder)
    assert torch.equal(torch.random.get_rng_state(), randomness)
    assert all(value.grad is None for value in parts.trainable.values())
    return found, " ".join(said)


def test_recorded_steps_that_hold_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, said = checked(tmp_path, monkeypatch, record)
    assert found.graphs is not None
    assert said.startswith("steps are recorded as CUDA graphs")


def fails(forward: Any, backward: Any) -> Any:
    raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")


def stale(forward: Any, backward: Any) -> Any:
    """Replays that leave everything as it is."""
    return record(forward, backward)[0], lambda: None


@pytest.mark.parametrize(("recorder_of", "words"), [(fails, "not permitted"), (stale, "the network's gradient is off")])
def test_what_records_wrongly_is_not_used(
    recorder_of: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, said = checked(tmp_path, monkeypatch, recorder_of)
    assert found.graphs is None
    assert said.startswith("steps are not recorded as CUDA graphs: ")
    assert words in said


def test_a_task_that_calls_the_network_twice_in_a_step_is_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second pass overwrites what the first one's way back needs."""
    found, said = checked(tmp_path, monkeypatch, record, loss__consistency={"weight": 1.0})
    assert found.graphs is None
    assert "this task calls the network again before the way back of the first call" in said


def test_what_cant_be_recorded_is_refused(tmp_path: Path) -> None:
    parts = single_label(tmp_path)
    assert fast_paths.why_no_graphs(parts, H200) is None
    assert fast_paths.why_no_graphs(parts, Card("cpu")) == "on cpu"
    compiled = single_label(tmp_path, speed__compile="regional")
    assert fast_paths.why_no_graphs(compiled, H200) == "together with speed.compile"
    assert "checkpoint_activations" in str(
        fast_paths.why_no_graphs(single_label(tmp_path, train__checkpoint_activations=True), H200)
    )
    assert "batching=dynamic" in str(fast_paths.why_no_graphs(single_label(tmp_path, train__batching="dynamic"), H200))
    assert "every token counts" in str(fast_paths.why_no_graphs(pretraining(tmp_path), H200))
    adversarial = single_label(tmp_path, adversarial={"method": "fgm"})
    assert "with adversarial" in str(fast_paths.why_no_graphs(adversarial, H200))
    modern = make_encoder(tmp_path / "modern", "modernbert")
    assert "ModernBERT" in str(fast_paths.why_no_graphs(single_label(tmp_path, model__name=str(modern)), H200))


def test_a_recipe_that_asks_for_it_on_a_cpu_hears_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    recorder = recorder_in(tmp_path)
    monkeypatch.setattr(recorder, "warn", said.append)
    parts = single_label(tmp_path, speed__cuda_graphs=True)
    assert with_fast_paths(parts, Card("cpu"), recorder).graphs is None
    assert said == ["speed.cuda_graphs: no step is recorded on cpu"]
