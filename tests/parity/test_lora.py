"""LoRA as glotune sets it up = PEFT used directly: same trainable tensors, logits, gradients."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from glotune.model.lora import add_lora
from glotune.model.network import Network
from glotune.recipe.schema import Lora
from packed_batches import gradients, load, packed, random_ids

CASES = [
    ("xlm-roberta", ["query", "value"], ["query", "value"], ["classifier"]),
    ("roberta", ["query", "key", "value", "dense"], r"roberta\.encoder.*\.(query|key|value|dense)", ["classifier"]),
    ("bert", ["query", "dense"], r"bert\.encoder.*\.(query|dense)", ["pooler", "classifier"]),
    ("modernbert", ["query", "dense"], r"model\.layers.*\.(Wqkv|Wo|Wi)", ["head", "classifier"]),
]
VARIANTS: list[dict[str, Any]] = [{}, {"rslora": True}, {"dora": True}, {"alpha": 32, "dropout": 0.0}]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: next(iter(variant), "plain"))
@pytest.mark.parametrize(("family", "ours", "theirs", "head"), CASES, ids=[case[0] for case in CASES])
def test_same_as_peft(
    tmp_path: Path, family: str, ours: list[str], theirs: Any, head: list[str], variant: dict[str, Any]
) -> None:
    hf = load(tmp_path, family)
    spec = Lora(rank=4, target_modules=ours, **variant)
    direct = LoraConfig(
        task_type="SEQ_CLS",
        r=4,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=theirs,
        modules_to_save=head,
        use_rslora=spec.rslora,
        use_dora=spec.dora,
    )
    torch.manual_seed(1)
    expected = get_peft_model(copy.deepcopy(hf), direct)
    torch.manual_seed(1)
    wrapped, change = add_lora(hf, spec)
    trainable = {name: value for name, value in wrapped.named_parameters() if value.requires_grad}
    wanted = {name: value for name, value in expected.named_parameters() if value.requires_grad}
    assert trainable.keys() == wanted.keys()
    assert all(torch.equal(trainable[name], wanted[name]) for name in wanted)
    assert change.trainable_after == sum(value.numel() for value in wanted.values())
    wrapped.eval()
    expected.eval()
    texts = random_ids((12, 12, 4))
    logits, found = gradients(Network(wrapped), packed(texts))
    reference, other = gradients(Network(expected, packed=False), packed(texts, pad_to=12))
    assert (logits - reference).abs().max() < 1e-5
    assert found.keys() == other.keys()
    assert all((found[name] - other[name]).abs().max() < 1e-4 for name in other)
