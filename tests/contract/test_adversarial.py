"""Adversarial training: its update is that of plain PyTorch, under any cut, padded, packed and trimmed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from glotune.data.batches import PackedBatch
from glotune.engine.adversary import adversarial_passes, moved_on
from glotune.engine.assembly import optimizer_of
from glotune.engine.optimizer import LossScale
from glotune.engine.step import Stepper
from glotune.errors import UserError
from glotune.recipe.schema import Adversarial
from glotune.report.content import gather
from glotune.run.data import load_run
from glotune.tasks.task import Part
from glotune.verbs.train import train
from made_updates import assembled, recipe_for, schedule_of, whole_batch
from packed_batches import packed, random_ids
from small_runs import small_recipe

METHODS: dict[str, dict[str, Any]] = {
    "fgm": {"method": "fgm", "epsilon": 0.5},
    "pgd": {"method": "pgd", "epsilon": 0.5, "steps": 2},
    "freelb": {"method": "freelb", "epsilon": 0.5, "steps": 3},
}


def gradients(folder: Path, family: str, budget: int, keys: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Of the first 24 texts, through the engine's own step."""

    recipe = recipe_for(folder, family, **keys)
    parts = assembled(folder, recipe, budget).parts
    optimizer, decay = optimizer_of(parts)
    stepper = Stepper(parts, optimizer, schedule_of(recipe, 150), decay, budget)
    objective = parts.task.objective(0, parts.epoch(0)[0])
    parts.network.train()
    stepper._accumulate(0, objective, stepper._load(objective))
    found = {name: each.grad for name, each in parts.trainable.items() if each.grad is not None}
    rows = "word_embeddings" if family != "modernbert" else "tok_embeddings"
    return {name: each for name, each in found.items() if rows not in name}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["xlm-roberta", "deberta-v2"])
def test_c2_neither_cut_nor_padding_nor_trimming_changes_the_update(tmp_path: Path, family: str, method: str) -> None:
    keys = {"adversarial": METHODS[method]}
    whole = gradients(tmp_path, family, 10**6, keys)
    plain = gradients(tmp_path, family, 10**6, {})
    assert max(float((whole[name] - plain[name]).abs().max()) for name in whole) > 1e-4, "or it would do nothing"
    others: list[tuple[int, dict[str, Any]]] = [
        (100, {}),
        (10**6, {"train__batching": "dynamic", "speed__trim_vocabulary": False, "speed__pooled_last_layer": False}),
    ]
    for budget, more in others:
        cut = gradients(tmp_path, family, budget, keys | more)
        for name, wanted in whole.items():
            assert torch.allclose(cut[name], wanted, atol=2e-5), name


def test_fgm_is_a_few_lines_of_plain_pytorch(tmp_path: Path) -> None:
    """Each text by itself: its gradient at the word embeddings, scaled to epsilon, and both losses' mean."""
    recipe = recipe_for(tmp_path, "bert")
    parts = assembled(tmp_path, recipe, 10**6).parts
    rows = parts.epoch(0)[0]
    hf, objective = parts.network.hf, parts.task.objective(0, rows)
    hf.train()
    total: dict[str, torch.Tensor] = {}
    for row in rows:
        micro = whole_batch(parts, rows[rows == row])
        embedded = hf.bert.embeddings.word_embeddings(micro.input_ids.unsqueeze(0)).detach()
        noise = torch.zeros_like(embedded, requires_grad=True)

        def loss_of(moved: torch.Tensor, micro: Any = micro) -> torch.Tensor:
            looked_up = hf.bert.embeddings.word_embeddings(micro.input_ids.unsqueeze(0))
            logits = hf(inputs_embeds=looked_up + moved, token_type_ids=micro.token_type_ids.unsqueeze(0)).logits
            return objective.part(lambda batch: logits, micro).loss

        hf.zero_grad()
        (slope,) = torch.autograd.grad(loss_of(noise), noise)
        (0.5 * loss_of(noise.detach()) + 0.5 * loss_of(0.5 * slope / slope.norm())).backward()
        for name, value in hf.named_parameters():
            if value.grad is not None and "word_embeddings" not in name:
                total[name] = total.get(name, torch.zeros_like(value)) + value.grad
    found = gradients(tmp_path, "bert", 120, {"adversarial": METHODS["fgm"]})
    for name, wanted in total.items():
        assert torch.allclose(found[name], wanted, atol=2e-5), name


def test_a_move_has_its_length_and_stays_in_its_ball() -> None:
    micro = packed(random_ids((3, 40, 7, 1)))
    spec = Adversarial(method="pgd", epsilon=0.7, steps=4)
    generator = torch.Generator().manual_seed(0)
    gradient = 1e-25 * torch.randn(micro.num_tokens, 8, generator=generator)
    gradient[-1] = 0.0
    noise = torch.zeros_like(gradient)
    lengths = []
    for _ in range(3):
        noise = moved_on(noise, gradient, micro, spec)
        lengths.append([float(text.norm()) for text in noise.split(micro.lengths)])
    assert lengths[0] == pytest.approx([spec.stride] * 3 + [0.0], rel=1e-5)
    assert lengths[2] == pytest.approx([0.7] * 3 + [0.0], rel=1e-5)
    alone = replace(packed(random_ids((3,))), rows=micro.rows[:1])
    first = moved_on(torch.zeros(3, 8), gradient[:3], alone, spec)
    assert torch.allclose(first, noise[:3] / 0.7 * spec.stride, atol=1e-6), "whoever shares its micro-batch"


@pytest.mark.parametrize("method", METHODS)
def test_moves_in_fp16_are_those_of_the_scaled_loss(method: str) -> None:
    """A gradient of 1e-9 is none in fp16; under the scale of the loss it is one, and a move is as long as ever."""
    spec = Adversarial(**{**METHODS[method], "steps": 3} if method == "pgd" else METHODS[method])
    micro = packed(random_ids((3, 7)))
    slopes = torch.randn(micro.num_tokens, 4, generator=torch.Generator().manual_seed(0))

    def moves(half: bool, factor: float) -> list[torch.Tensor]:
        seen = []

        def run(batch: PackedBatch) -> Part:
            assert batch.noise_TE is not None
            seen.append(batch.noise_TE.detach())
            moved = batch.noise_TE.half() if half else batch.noise_TE
            bent = moved * (slopes + 0.1 * moved.detach()).to(moved.dtype)
            return Part(loss=bent.float().sum() * 1e-9, sums=torch.zeros(0))

        def scaled(loss: torch.Tensor) -> torch.Tensor:
            return loss * factor

        noisy = replace(micro, noise_TE=torch.zeros(micro.num_tokens, 4, requires_grad=True))
        for part, share in adversarial_passes(spec, run, noisy, scaled):
            scaled(part.loss * share).backward()
        return seen

    found, wanted = moves(True, LossScale().factor), moves(False, 1.0)
    assert len(found) == len(wanted) == 1 + spec.moves
    assert all(torch.allclose(one, other, atol=0.02) for one, other in zip(found, wanted, strict=True))
    assert all(float(one.norm()) > 0.1 for one in found[1:])


def test_a_run_with_frozen_layers_says_what_it_gives_up(tmp_path: Path) -> None:
    recipe = small_recipe(
        tmp_path, model__freeze={"embeddings": True, "layers": 1}, adversarial=METHODS["freelb"], train__epochs=2
    )
    run = train(recipe, out=tmp_path / "run", report=False)
    assert run.manifest.plan is not None
    assert "train: another one at every visit" in run.manifest.plan.reasons["prefix_cache"]
    cached = [change.details["splits"] for change in run.manifest.changes if change.kind == "prefix_cache"]
    assert cached == [{"train": False, "validation": True, "test": False}], "only training texts are moved"
    told = dict(gather(load_run(run.path)).training)["Adversarial training"]
    assert told.startswith("FreeLB, 2 moves of a text's word embeddings within a length of 0.5: 3 passes")


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fgm moves once"):
        small_recipe(tmp_path, adversarial={"method": "fgm", "steps": 2})
    with pytest.raises(UserError, match=r"adversarial\.epsilon"):
        small_recipe(tmp_path, adversarial={"epsilon": 0})
