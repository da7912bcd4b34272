"""Batches of a few fixed shapes, for devices that compile for each shape anew: the same numbers, and few shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accelerator_guard import META, Guard, as_a_gpu
from contract.test_on_an_accelerator import moved
from contract.test_on_an_accelerator import stepper_of as stepper_on_meta
from contract.test_tasks import (
    assert_close,
    distilled,
    in_windows,
    pretraining,
    recorder_in,
    scores_weighted,
    several_labels,
    single_label,
    sums_and_gradients,
    weighted,
)
from encoders import PACKED_FAMILIES
from glotune.data.batches import CAPACITIES, LARGEST, NO_LABEL, filled
from glotune.engine import assembly
from glotune.engine import plan as planning
from glotune.engine.assembly import as_far_as_here
from glotune.engine.forward import evaluate
from glotune.engine.parts import Parts
from glotune.engine.plan import TPU_TOKENS, available_devices, choose_budget, choose_precision
from glotune.errors import UserError
from glotune.model.card import Card
from glotune.model.network import Network, choose_attention
from glotune.model.packed.kernels import BLOCKS
from glotune.verbs.predict import load as load_predictor
from glotune.verbs.train import train
from packed_batches import gradients, largest_difference, load, packed, random_ids
from small_runs import small_recipe

TPU = Card("tpu")
FILLED = {
    "single label": single_label,
    "weighted": weighted,
    "distillation": distilled,
    "several labels": several_labels,
    "scores, weighted": scores_weighted,
    "windows": in_windows(single_label, "mean"),
}
make_parts = pytest.mark.parametrize("make", FILLED.values(), ids=FILLED)


def in_blocks(parts: Parts) -> Parts:
    """As on a TPU, on the CPU."""
    parts.network.kernels = BLOCKS
    return replace(parts, plan=parts.plan.model_copy(update={"attention": "blocks"}))


def shape(batch: Any) -> tuple[Any, ...]:
    return tuple(tuple(tensor.shape) for tensor in batch.tensors())


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_c1_as_padded(tmp_path: Path, family: str, pooled: bool) -> None:
    hf = load(tmp_path, family)
    texts = random_ids()
    expected, wanted = gradients(Network(hf, packed=False), packed(texts, pad_to=128))
    network = Network(hf, pooled_last_layer=pooled)
    network.kernels = BLOCKS
    batch = filled(packed(texts))
    network.zero_grad(set_to_none=True)
    logits = network(batch)[: len(texts)]
    (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    found = {name: value.grad for name, value in hf.named_parameters() if value.grad is not None}
    assert (logits - expected).abs().max() < 1e-5
    assert largest_difference(found, wanted) < 1e-5


@make_parts
def test_c2_the_update_and_the_sums_are_the_packed_runs(make: Callable[[Path], Parts], tmp_path: Path) -> None:
    parts = make(tmp_path)
    sums, wanted = sums_and_gradients(parts, tmp_path, 10**6)
    for budget in (10**6, 64):
        found, gradient = sums_and_gradients(in_blocks(parts), tmp_path, budget)
        assert found == pytest.approx(sums, abs=1e-5)
        assert_close(wanted, gradient)


@make_parts
def test_an_evaluation_answers_the_real_texts_alone(make: Callable[[Path], Parts], tmp_path: Path) -> None:
    parts = make(tmp_path)
    expected = evaluate(parts, "validation", recorder_in(tmp_path))
    found = evaluate(in_blocks(parts), "validation", recorder_in(tmp_path))
    assert np.abs(found[0] - expected[0]).max() < 1e-5


def test_a_run_has_few_shapes(tmp_path: Path) -> None:
    """At most one for each pair of a capacity and a power of two of texts, whatever the texts are."""
    parts = in_blocks(single_label(tmp_path))
    shapes = {
        shape(batch)
        for epoch in range(20)
        for rows in parts.epoch(epoch)
        for batch in parts.micro_batches("train", rows, 256, parts.task.objective(0, rows).dress)
    }
    plain = replace(parts, plan=parts.plan.model_copy(update={"attention": "packed_sdpa"}))
    unfilled = {
        shape(batch)
        for rows in (rows for epoch in range(20) for rows in parts.epoch(epoch))
        for batch in plain.micro_batches("train", rows, 256)
    }
    assert len(shapes) <= 6 < len(unfilled)


def test_what_fills_a_batch() -> None:
    targets = {"labels": torch.tensor([1, 2, 0]), "weights": torch.ones(3)}
    batch = replace(packed(random_ids((3, 5, 9))), targets=targets)
    found = filled(batch)
    assert (found.num_tokens, len(found), len(found.rows)) == (CAPACITIES[0], 4, 3)
    assert found.cu_seqlens.tolist() == [0, 3, 8, 17, 256]
    assert found.targets["labels"].tolist() == [1, 2, 0, NO_LABEL]
    assert found.targets["weights"].tolist() == [1, 1, 1, 0]
    assert found.cu_seqlens.dtype == torch.int32
    exact = filled(packed(random_ids((1,) * 7 + (248,), high=130)))
    assert (exact.num_tokens, len(exact)) == (512, 16), "one dummy at least, and a token for each"
    assert filled(packed(random_ids((3000,)))).num_tokens == 2 * LARGEST


def test_no_wait_of_the_host_in_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = as_a_gpu(monkeypatch)
    parts = moved(in_blocks(single_label(tmp_path)), BLOCKS)
    stepper = stepper_on_meta(parts, tmp_path, 64)
    prepared = stepper._prepared(0, parts.epoch(0)[0])
    with Guard():
        stepper._step(prepared, 0.0, 0.0)
    assert len(fetched) == 1
    assert parts.device == META


def test_what_a_tpu_is_planned_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = single_label(tmp_path)
    assert choose_attention(parts.network, TPU, "bf16")[0] == "blocks"
    assert choose_precision("auto", TPU, 768)[0] == "bf16"
    assert choose_budget(TPU, 768, 12, "bf16")[0] == TPU_TOKENS < LARGEST
    monkeypatch.setattr(planning, "has_tpu", lambda: True)
    assert "tpu" in available_devices()
    plan, said = as_far_as_here(parts.plan.model_copy(update={"device": "tpu", "attention": "blocks"}), parts.network,
                                Card("cpu"))  # fmt: skip
    assert (plan.device, plan.attention) == ("cpu", "packed_sdpa")
    assert len(said) >= 2


def test_tasks_without_a_text_that_counts_for_nothing_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "choose_attention", lambda *given: ("blocks", "as on a TPU"))
    with pytest.raises(UserError, match="Pretraining does not run on a cpu"):
        pretraining(tmp_path)


def test_a_prediction_is_the_same(tmp_path: Path) -> None:
    run = train(small_recipe(tmp_path, train__epochs=1), out=tmp_path / "run", report=False)
    texts = [f"good food {'and more ' * (number % 4)}{number}" for number in range(30)]
    expected = load_predictor(run.path).predict_proba(texts)
    predictor = load_predictor(run.path)
    predictor.engine.model.network.kernels = BLOCKS
    assert np.abs(predictor.predict_proba(texts) - expected).max() < 1e-5
