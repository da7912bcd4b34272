"""One contract for all surgeries: forward shape, save and load, gradients only where trainable, counts as reported."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from encoders import FAMILIES, PACKED_FAMILIES, make_tokenizer
from glotune.data.batches import PackedBatch
from glotune.model.loading import load_tokenizer
from glotune.model.saving import save_model
from glotune.model.surgery.operate import Operated, operate
from glotune.recipe.schema import Freeze, Lora, Model, Speed
from packed_batches import LABELS, load, packed, random_ids

LENGTHS = (3, 20, 9, 9)


@dataclass(frozen=True)
class Surgery:
    """A recipe's `model` section, and which parameter names may train under it."""

    keys: dict[str, Any]
    trains: Callable[[str], bool]


def _anything(name: str) -> bool:
    return True


SURGERIES = {
    "none": Surgery({}, _anything),
    "truncate": Surgery({"layers": 2}, _anything),
    "freeze embeddings": Surgery({"freeze": Freeze(embeddings=True)}, lambda name: ".embeddings." not in name),
    "freeze layers": Surgery(
        {"freeze": Freeze(embeddings=True, layers=1)},
        lambda name: ".embeddings." not in name and ".0." not in name,
    ),
    "lora": Surgery(
        {"lora": Lora(rank=2, target_modules=["query", "dense"])},
        lambda name: "lora_" in name or "modules_to_save" in name,
    ),
    "truncate, freeze and upper lora": Surgery(
        {"layers": 2, "freeze": Freeze(embeddings=True, layers=1), "lora": Lora(rank=2, layers=1)},
        lambda name: "lora_" in name or "modules_to_save" in name,
    ),
    "freeze layers and lora": Surgery(
        {"freeze": Freeze(embeddings=True, layers=1), "lora": Lora(rank=2)},
        lambda name: ("lora_" in name or "modules_to_save" in name) and ".0." not in name,
    ),
}


@pytest.mark.parametrize("name", SURGERIES)
@pytest.mark.parametrize("family", FAMILIES)
class TestSurgery:
    """Every surgery on every family, vocabulary trimmed."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return tmp_path / "source"

    @pytest.fixture
    def operated(self, source: Path, family: str, name: str) -> Operated:
        hf = load(source, family)
        self.full = sum(value.numel() for value in hf.parameters())
        model = Model(name=str(source), **SURGERIES[name].keys)
        special = make_tokenizer(family).all_special_ids
        return operate(hf, model, Speed(), used_ids=np.concatenate(random_ids(LENGTHS)), special_ids=special)

    @pytest.fixture
    def batch(self, operated: Operated) -> PackedBatch:
        assert operated.vocabulary is not None
        rows = [operated.vocabulary.to_trimmed(np.array(text)).tolist() for text in random_ids(LENGTHS)]
        return packed(rows)

    def test_forward_shape(self, operated: Operated, batch: PackedBatch) -> None:
        logits = operated.network(batch)
        assert logits.shape == (len(LENGTHS), len(LABELS))
        assert torch.isfinite(logits).all()

    def test_gradients_only_where_trainable(self, operated: Operated, batch: PackedBatch, name: str) -> None:
        network = operated.network.train()
        network(batch).square().sum().backward()
        for parameter, value in network.hf.named_parameters():
            assert (value.grad is None) or value.requires_grad, parameter
            if value.requires_grad:
                assert SURGERIES[name].trains(parameter), parameter
        head = [value for key, value in network.hf.named_parameters() if network.anatomy.depth_of(key) is None]
        assert any(value.requires_grad and value.grad is not None for value in head), "the head always trains"

    def test_reported_counts_are_actual(self, operated: Operated) -> None:
        changes = operated.changes
        assert changes[0].parameters_before == self.full
        for before, after in itertools.pairwise(changes):
            assert before.parameters_after == after.parameters_before
            assert before.trainable_after == after.trainable_before
        values = list(operated.network.hf.parameters())
        assert changes[-1].parameters_after == sum(value.numel() for value in values)
        assert changes[-1].trainable_after == sum(value.numel() for value in values if value.requires_grad)

    def test_saved_and_loaded_by_transformers(
        self, operated: Operated, batch: PackedBatch, source: Path, tmp_path: Path
    ) -> None:
        network = operated.network.eval()
        _disturb(network.hf)
        with torch.no_grad():
            expected = network(batch)
        before = {key: value.clone() for key, value in network.hf.state_dict().items()}
        tokenizer = load_tokenizer(Model(name=str(source)))
        save_model(network, tokenizer, operated.vocabulary, tmp_path / "saved", max_length=64)
        assert all(torch.equal(value, before[key]) for key, value in network.hf.state_dict().items())
        loaded, info = AutoModelForSequenceClassification.from_pretrained(
            tmp_path / "saved", output_loading_info=True, dtype=torch.float32
        )
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert loaded.config.id2label == dict(enumerate(LABELS))
        loaded.eval()
        with torch.no_grad():
            for index, text in enumerate(random_ids(LENGTHS)):
                assert (loaded(input_ids=torch.tensor([text])).logits[0] - expected[index]).abs().max() < 1e-4


def _disturb(hf: torch.nn.Module) -> None:
    """A training step's stand-in: every trainable tensor differs from its source."""
    torch.manual_seed(0)
    with torch.no_grad():
        for value in hf.parameters():
            if value.requires_grad:
                value.add_(0.05 * torch.randn_like(value))


@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_frozen_part_has_no_dropout(tmp_path: Path, family: str) -> None:
    rates = {"attention_dropout": 0.5, "mlp_dropout": 0.5, "embedding_dropout": 0.5} if family == "modernbert" else {}
    texts = packed(random_ids(LENGTHS))
    for dropout, is_fixed in (("off", True), ("on", False)):
        hf = load(tmp_path / dropout, family, **rates)
        model = Model(name="x", freeze=Freeze(embeddings=True, layers=2, dropout=dropout))
        network = operate(hf, model, Speed(), used_ids=None).network.train()
        assert network.prefix_depth == (2 if is_fixed else None)
        if is_fixed:
            assert torch.equal(network.prefix(texts), network.prefix(texts))
            network.eval()
            with torch.no_grad():
                assert torch.equal(network(texts), network(replace(texts, hidden_TH=network.prefix(texts))))
