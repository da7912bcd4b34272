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
from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

from accelerator_guard import META, Guard, as_a_gpu
from contract.test_tasks import TASKS, recorder_in, single_label
from glotune.engine.checkpoints import CheckpointStore
from glotune.engine.forward import evaluate
from glotune.engine.loop import build_loop
from glotune.engine.parts import Parts
from glotune.engine.predict import TorchModel
from glotune.engine.processes import Control, Processes
from glotune.engine.step import Stepper
from glotune.model.cpu.tune import tune
from glotune.model.network import Network
from glotune.model.packed.kernels import PADDED, Kernels
from packed_batches import packed, random_ids

make_parts = pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
VARLEN = Kernels("flash", "flash")
every_kernel = pytest.mark.parametrize("kernels", [VARLEN, PADDED], ids=["varlen", "padded"])
every_kernel_in_turn = pytest.mark.parametrize(
    "kernels", [VARLEN, pytest.param(PADDED, marks=pytest.mark.extras)], ids=["varlen", "padded"]
)


def moved(parts: Parts, kernels: Kernels) -> Parts:
    """The parts on a device that computes shapes alone."""
    parts.network.to(META)
    parts.network.kernels = kernels
    return replace(parts, processes=Processes(0, 1, META))


def stepper_of(parts: Parts, folder: Path, budget: int) -> Stepper:
    stepper = build_loop(parts, None, recorder_in(folder), CheckpointStore(folder / "none", 1), Control()).stepper
    stepper.token_budget = budget
    return stepper


@every_kernel_in_turn
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


@every_kernel
def test_the_host_waits_once_in_a_prediction(kernels: Kernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = as_a_gpu(monkeypatch)
    parts = single_label(tmp_path)
    store = parts.stores["validation"]
    model = TorchModel(parts.network, "meta", "fp32", token_budget=64)
    model.network.kernels = kernels
    with Guard() as guard:
        logits_NC = model.logits(store)
    assert fetched == [(len(store), 3)]
    assert logits_NC.dtype == np.float64
    assert guard.launched > 100, "on the device"


REFUSED: dict[str, Callable[[torch.Tensor], Any]] = {
    "asks for a value": lambda values: values.sum().item(),
    "counts": lambda values: torch.bincount(values.long()),
    "takes by a mask": lambda values: values[values > 0],
    "repeats without a size": lambda values: torch.repeat_interleave(values.long()),
    "copies and waits": lambda values: torch.zeros(3).to(META),
    "copies to the host": lambda values: values.cpu(),
    "makes float64": lambda values: values.double(),
}


@pytest.mark.parametrize("work", REFUSED.values(), ids=REFUSED)
def test_the_guard_sees_what_it_is_for(work: Callable[[torch.Tensor], Any]) -> None:
    with Guard(), pytest.raises(AssertionError):  # HostWaits is one
        work(torch.zeros(3, device=META))


# ---- how many kernels a micro-batch launches -----------------------------------------------------------


def base_sized() -> Any:
    """XLM-R-base without weights."""
    config = XLMRobertaConfig(
        vocab_size=2000,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
        num_labels=3,
    )
    with META:
        return XLMRobertaForSequenceClassification(config).train()


def launched(work: Callable[[], torch.Tensor]) -> int:
    """Kernels of a forward and a backward pass."""
    with Guard(refuses=False) as guard:
        work().backward()
    return guard.launched


def padded_kernels(monkeypatch: pytest.MonkeyPatch) -> int:
    """Of Hugging Face's model, whose attention counts as the one kernel that it is on a GPU."""

    def one_kernel(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, **more: Any) -> Any:
        operator = torch.ops.aten._scaled_dot_product_efficient_attention
        return operator(query, key, value, attn_mask, True, dropout_p, False, scale=more["scale"])[0]

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", one_kernel)
    hf, ids = base_sized(), torch.ones(8, 40, dtype=torch.long, device=META)
    mask = torch.ones(8, 1, 40, 40, device=META)  # made by the host in advance, in its favour
    return launched(lambda: hf(input_ids=ids, attention_mask=mask, labels=ids[:, 0]).loss)


def test_a_micro_batch_launches_no_more_kernels_than_padded_hugging_face(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(base_sized()).train()
    tune(network, "cuda", "fp32", training=True)
    batch = packed(random_ids((5, 9, 12, 30, 40, 40, 41, 60))).to(META)
    labels = torch.zeros(8, dtype=torch.long, device=META)
    found = {}
    for name, kernels in (("varlen", Kernels("flash", "flash")), ("padded product", PADDED)):
        network.kernels = kernels
        found[name] = launched(lambda: torch.nn.functional.cross_entropy(network(batch).float(), labels))
    opponent = padded_kernels(monkeypatch)
    assert found["varlen"] <= 520 < opponent, (found, opponent)
    assert batch.num_tokens == sum(batch.lengths), "no token is computed that is none"
