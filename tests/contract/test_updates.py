"""C2: dropout off, the update does not depend on how an effective batch is cut.

1 x 32 = 4 x 8 = packed by tokens, to 1e-6 of the loss over 20 steps, with class weights and label smoothing,
text pairs, and an uneven last batch; and equal to twenty lines of plain PyTorch.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch.nn import functional

from glotune.data.batches import effective_batches, epoch_order
from glotune.engine.assembly import optimizer_of
from glotune.engine.parts import Parts
from glotune.engine.step import Stepper
from glotune.model.cpu import packed_weights
from glotune.model.packed.padding import padded_inputs
from glotune.recipe import Recipe
from glotune.tasks.single_label import SingleLabel
from made_updates import assembled, recipe_for, schedule_of, whole_batch
from small_runs import sentences, small_recipe, write_csv

STEPS = 20


def losses(folder: Path, recipe: Recipe, token_budget: int) -> list[float]:
    parts = assembled(folder, recipe, token_budget).parts
    store = parts.stores["train"]
    optimizer, decay = optimizer_of(parts)
    stepper = Stepper(parts, optimizer, schedule_of(recipe, len(store)), decay, token_budget)
    batches = (
        batch
        for epoch in range(recipe.train.epochs)
        for batch in effective_batches(epoch_order(store.languages, 0, epoch, None), recipe.train.batch_size)
    )
    found = [outcome.loss for _, _, outcome in stepper.run(enumerate(batches))]
    assert len(found) == STEPS
    return found


def class_weights_of(parts: Parts) -> torch.Tensor:
    assert isinstance(parts.task, SingleLabel)
    assert parts.task.class_weights is not None
    return torch.from_numpy(parts.task.class_weights)


@pytest.mark.parametrize("pairs", [pytest.param(False, marks=pytest.mark.extras), True])
@pytest.mark.parametrize("family", ["xlm-roberta", "bert", "modernbert"])
def test_an_update_does_not_depend_on_the_cut(tmp_path: Path, family: str, pairs: bool) -> None:
    recipe = recipe_for(tmp_path, family, pairs=pairs)
    whole = losses(tmp_path, recipe, token_budget=10**6)
    assert losses(tmp_path, recipe, token_budget=120) == pytest.approx(whole, abs=1e-6), "packed by tokens"
    fixed = recipe.model_copy(update={"train": recipe.train.model_copy(update={"batching": "fixed"})})
    assert losses(tmp_path, fixed, token_budget=8 * 32) == pytest.approx(whole, abs=1e-6), "4 x 8, padded"
    assert losses(tmp_path, fixed, token_budget=32 * 32) == pytest.approx(whole, abs=1e-6), "1 x 32, padded"


@pytest.mark.parametrize("savings", [{}, {"model__freeze": {"embeddings": True, "layers": 1}}], ids=str)
def test_an_update_with_row_weights_does_not_depend_on_the_cut(tmp_path: Path, savings: dict[str, Any]) -> None:
    recipe = recipe_for(tmp_path, data__columns__weight="trust", **savings)
    rows = [{**row, "trust": str(0.25 * (1 + number % 7))} for number, row in enumerate(sentences("en", 150))]
    write_csv(tmp_path / "train.csv", rows)
    whole = losses(tmp_path, recipe, token_budget=10**6)
    assert losses(tmp_path, recipe, token_budget=120) == pytest.approx(whole, abs=1e-6), "packed by tokens"
    fixed = recipe.model_copy(update={"train": recipe.train.model_copy(update={"batching": "fixed"})})
    assert losses(tmp_path, fixed, token_budget=8 * 32) == pytest.approx(whole, abs=1e-6), "4 x 8, padded"

    plain = assembled(tmp_path, recipe, 10**6).parts
    store, hf = plain.stores["train"], plain.network.hf.train()
    assert store.weights is not None
    assert store.weights[:3].tolist() == [0.25, 0.5, 0.75]
    batch = effective_batches(epoch_order(store.languages, 0, 0, None), 32)[0]
    micro = whole_batch(plain, batch)
    weights_C, smoothing, labels = class_weights_of(plain), recipe.loss.label_smoothing, micro.targets["labels"]
    each = functional.cross_entropy(
        plain.network(micro), labels, weight=weights_C, label_smoothing=smoothing, reduction="none"
    )
    trust = torch.from_numpy(store.weights[micro.rows])
    expected = (each * trust).sum() / (weights_C[labels] * trust).sum()
    assert hf.training
    assert whole[0] == pytest.approx(expected.item(), abs=1e-6)
    alike = losses(tmp_path, recipe.model_copy(update={"data": recipe.data.model_copy(
        update={"columns": recipe.data.columns.model_copy(update={"weight": None})})}), 10**6)  # fmt: skip
    assert abs(alike[0] - whole[0]) > 1e-4, "or the weights would say nothing"


def test_the_engine_is_twenty_lines_of_plain_pytorch(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, optimizer={"learning_rate": 1e-3, "weight_decay": 0.01, "max_grad_norm": 0.5})
    ours = losses(tmp_path, recipe, token_budget=200)

    plain = assembled(tmp_path, recipe.model_copy(update={"speed": recipe.speed.model_copy(
        update={"trim_vocabulary": False, "pooled_last_layer": False})}), 10**6).parts  # fmt: skip
    hf, store, found = plain.network.hf.train(), plain.stores["train"], []
    decayed = [value for value in hf.parameters() if value.ndim > 1]
    others = [value for value in hf.parameters() if value.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01},
                                   {"params": others, "weight_decay": 0.0}], lr=1e-3)  # fmt: skip
    schedule = schedule_of(recipe, len(store))
    weights = class_weights_of(plain)
    for epoch in range(recipe.train.epochs):
        for rows in effective_batches(epoch_order(store.languages, 0, epoch, None), 32):
            micro = whole_batch(plain, np.sort(rows))
            logits = hf(**padded_inputs(plain.network.anatomy, micro)).logits
            loss = functional.cross_entropy(logits, micro.targets["labels"], weight=weights, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(hf.parameters(), 0.5)
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * schedule.factor(len(found))
            optimizer.step()
            found.append(loss.item())
    assert ours == pytest.approx(found, abs=1e-5)


@pytest.mark.skipif(not packed_weights.onednn_packs_bf16(), reason="this processor or this torch has no bf16 products")
@pytest.mark.parametrize(
    "savings", [{}, {"model__lora": {"rank": 2}}, {"model__freeze": {"embeddings": True, "layers": 1}}], ids=str
)
@pytest.mark.parametrize("family", ["xlm-roberta", "bert", "modernbert"])
def test_weights_packed_for_a_step_change_no_bit_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, savings: dict[str, Any]
) -> None:
    monkeypatch.setattr(packed_weights, "NARROW", 1)
    recipe = small_recipe(tmp_path, family, rows=48, train__epochs=1, train__batch_size=16, **savings)

    packings: list[torch.Tensor] = []
    own = packed_weights._packed
    monkeypatch.setattr(packed_weights, "_packed", lambda weight: (packings.append(weight), own(weight))[1])

    def trained(
        folder: Path, precision: Literal["fp32", "bf16"] = "bf16"
    ) -> tuple[list[float], dict[str, torch.Tensor]]:
        parts = assembled(folder, recipe, 96, precision).parts
        optimizer, decay = optimizer_of(parts)
        stepper = Stepper(parts, optimizer, schedule_of(recipe, 48), decay, 96)
        assert (
            len(stepper._load(parts.task.objective(0, np.arange(16)))) > 1
        )  # several micro-batches share what is packed
        batches = enumerate(effective_batches(np.arange(48), 16))
        return [outcome.loss for _, _, outcome in stepper.run(batches)], parts.trainable

    losses, weights = trained(tmp_path / "packed")
    assert packings  # or this would compare a thing with itself
    packings.clear()
    trained(tmp_path / "fp32", "fp32")
    assert not packings  # a run in fp32 has no use for them
    monkeypatch.setattr("glotune.engine.step.packed_weights", lambda _: nullcontext())
    plain_losses, plain_weights = trained(tmp_path / "plain")
    assert losses == plain_losses
    assert all(torch.equal(weights[name], plain_weights[name]) for name in weights)
