"""LoRA as glotune sets it up = PEFT used directly: same trainable tensors, logits, gradients."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from glotune.model.cpu.lean_lora import LeanLinear, project_together
from glotune.model.network import Network
from glotune.model.surgery.lora import add_lora
from glotune.recipe.schema import Lora
from packed_batches import gradients, load, packed, random_ids, tuned

CASES = [
    ("xlm-roberta", ["query", "value"], ["query", "value"], ["classifier"]),
    ("roberta", ["query", "key", "value", "dense"], r"roberta\.encoder.*\.(query|key|value|dense)", ["classifier"]),
    ("bert", ["query", "dense"], r"bert\.encoder.*\.(query|dense)", ["pooler", "classifier"]),
    ("modernbert", ["query", "dense"], r"model\.layers.*\.(Wqkv|Wo|Wi)", ["head", "classifier"]),
]
NO_DROPOUT: dict[str, dict[str, float]] = {
    "xlm-roberta": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "modernbert": {},
}
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
    _disturb(wrapped)
    _disturb(expected)
    texts = random_ids((12, 12, 4))
    reference, other = _padded_gradients(expected.eval(), texts)
    logits, found = gradients(tuned(Network(wrapped.eval())), packed(texts))
    assert (logits - reference).abs().max() < 1e-5
    assert found.keys() == other.keys()
    assert all((found[name] - other[name]).abs().max() < 1e-4 for name in other)


def _disturb(model: torch.nn.Module) -> None:
    """Nonzero adapters: PEFT starts with B = 0, where nothing of A would show."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(0.0, 0.1, generator=generator)


def _padded_gradients(model: torch.nn.Module, texts: list[list[int]]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """PEFT's and transformers' own forward, nothing of glotune's in between."""
    pad, longest = model.config.pad_token_id, max(map(len, texts))
    ids = torch.tensor([text + [pad] * (longest - len(text)) for text in texts])
    logits = model(input_ids=ids, attention_mask=(ids != pad).long()).logits
    (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    found = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return logits.detach(), found


@pytest.mark.parametrize("family", ["xlm-roberta", "modernbert"])
def test_dropout_acts_on_the_adapters_input_alone(tmp_path: Path, family: str) -> None:
    """The mean over many masks is the product without dropout."""
    hf = load(tmp_path, family, layers=1, **NO_DROPOUT[family])
    wrapped, _ = add_lora(hf, Lora(rank=4, dropout=0.5, target_modules=["dense"]))
    _disturb(wrapped)
    network = tuned(Network(wrapped))
    layer = next(part for part in wrapped.modules() if isinstance(part, LeanLinear))
    values = torch.randn(5, layer.in_features)
    with torch.no_grad():
        expected = network.eval() and layer(values)
        network.train()
        torch.manual_seed(0)
        drawn = torch.stack([layer(values) for _ in range(4000)])
    assert (drawn.mean(0) - expected).abs().max() < 6 * float(drawn.std(0).max()) / 4000**0.5
    assert drawn.std(0).min() > 0


def test_variants_stay_with_peft(tmp_path: Path) -> None:
    wrapped, _ = add_lora(load(tmp_path, "bert"), Lora(rank=2, dora=True))
    tuned(Network(wrapped))
    assert not any(isinstance(part, LeanLinear) for part in wrapped.modules())


def test_bf16_autocast_as_peft(tmp_path: Path) -> None:
    """Under autocast the lean layer rounds less often than PEFT: it is at least as close to fp32."""
    wrapped, _ = add_lora(load(tmp_path, "bert"), Lora(rank=4, target_modules=["query", "dense"]))
    _disturb(wrapped)
    batch = packed(random_ids((12, 12, 4)))
    with torch.no_grad():
        network = tuned(Network(wrapped.eval()))
        exact = network(batch)
        with torch.autocast("cpu", torch.bfloat16):
            lean = network(batch).float()
    assert (lean - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("targets", [["query"], ["query", "value"], ["query", "key", "value"]])
def test_projections_together_equal_one_by_one(tmp_path: Path, targets: list[str]) -> None:
    wrapped, _ = add_lora(load(tmp_path, "bert"), Lora(rank=4, target_modules=targets))
    _disturb(wrapped)
    network = tuned(Network(wrapped.eval()))
    attention = network.anatomy.layers[0].attention.self
    parts, values = (attention.query, attention.key, attention.value), torch.randn(6, 32)
    for together, part in zip(project_together(parts, values), parts, strict=True):
        assert (together - part(values)).abs().max() < 1e-5
    with wrapped.disable_adapter():
        for plain, part in zip(project_together(parts, values), parts, strict=True):
            assert torch.equal(
                plain, part.get_base_layer()(values) if hasattr(part, "get_base_layer") else part(values)
            )


def test_one_mask_for_query_key_and_value(tmp_path: Path) -> None:
    hf = load(tmp_path, "bert", **NO_DROPOUT["xlm-roberta"])
    wrapped, _ = add_lora(hf, Lora(rank=4, dropout=0.5, target_modules=["query", "key"]))
    _disturb(wrapped)
    network = tuned(Network(wrapped)).train()
    attention = network.anatomy.layers[0].attention.self
    values = torch.randn(6, 32)
    with torch.no_grad():
        attention.key.load_state_dict(attention.query.state_dict())
        query, key = project_together((attention.query, attention.key), values)
        assert torch.equal(query, key)
        again, _ = project_together((attention.query, attention.key), values)
        assert not torch.equal(query, again), "another mask each time"
