"""Weights in half precision: autocast's own numbers, fewer casts, and a source that comes back bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from encoders import FAMILIES, PACKED_FAMILIES
from glotune.data.batches import PackedBatch
from glotune.model.cpu.packed_weights import packed_weights
from glotune.model.cpu.tune import tune
from glotune.model.half_weights import HeldInHalf, cast_bytes, use_cast_once
from glotune.model.network import Network
from glotune.model.surgery.freezing import freeze
from glotune.model.surgery.lora import add_lora
from glotune.recipe.schema import Freeze, Lora
from packed_batches import load, packed, random_ids


def batches() -> list[PackedBatch]:
    return [packed(random_ids(lengths)) for lengths in ((5, 9, 13, 2), (30, 3), (17,))]


def passes(network: Network, scope: Callable[[nn.Module], AbstractContextManager[None]]) -> list[Tensor]:
    """Logits of three micro-batches, and the gradients that they add up to."""
    network.zero_grad(set_to_none=True)
    found = []
    with scope(network):
        for batch in batches():
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(batch)
            (logits.float() * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
            found.append(logits.detach())
    return found + [value.grad for value in network.parameters() if value.grad is not None]


def alone(network: nn.Module) -> AbstractContextManager[None]:
    return nullcontext()


def same(one: Iterable[Tensor], other: Iterable[Tensor]) -> bool:
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("adapted", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_a_step_whose_micro_batches_share_their_casts_computes_the_same(
    tmp_path: Path, family: str, adapted: bool
) -> None:
    hf = load(tmp_path, family)
    if adapted:
        hf, _ = add_lora(hf, Lora(rank=2, target_modules=["query", "value"], dropout=0.0))
    network = Network(hf).eval()
    tune(network, "cuda", "fp32", training=True)
    expected = passes(network, alone)
    use_cast_once(network.hf)
    assert same(passes(network, packed_weights), expected)
    assert same(passes(network, alone), expected), "outside a step as torch does it"


def test_casts_follow_the_weights_from_step_to_step(tmp_path: Path) -> None:
    network = Network(load(tmp_path, "xlm-roberta")).eval()
    tune(network, "cuda", "bf16", training=True)
    before = passes(network, packed_weights)
    with torch.no_grad():
        for value in network.parameters():
            value.mul_(1.25)
    after = passes(network, packed_weights)
    assert not torch.equal(before[0], after[0])
    assert same(after, passes(network, alone))


@pytest.mark.parametrize("family", ["xlm-roberta", "deberta-v2"])
def test_activations_computed_twice_share_the_casts_too(tmp_path: Path, family: str) -> None:
    """The way back of a GPU is another thread's, which knows no scope."""
    network = Network(load(tmp_path, family)).train()
    tune(network, "cuda", "bf16", training=True)
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    expected = casts(network, packed_weights)
    network.checkpoint_activations()
    elsewhere = Context()
    plain = Tensor.backward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "backward", lambda loss: elsewhere.run(plain, loss))
        assert casts(network, packed_weights) == expected
    assert all(value.grad is not None for value in network.hf.classifier.parameters())


def test_what_is_compiled_casts_by_itself() -> None:
    """In one graph, and never with the casts of the step that it was compiled in."""
    torch._dynamo.reset()
    layer = nn.Linear(4, 4)
    use_cast_once(layer)
    layer.compile(backend="eager", fullgraph=True)
    values = torch.randn(3, 4)
    for _ in range(2):
        with packed_weights(), torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(layer(values), nn.functional.linear(values, layer.weight, layer.bias))
        with torch.no_grad():
            layer.weight.mul_(2.0)
    torch._dynamo.reset()


# ---- how many casts ------------------------------------------------------------------------------------


class Casts(TorchDispatchMode):
    """Counts the casts of weights: matrices of fp32 that become bf16."""

    def __init__(self, shapes: set[torch.Size]) -> None:
        super().__init__()
        self.shapes, self.count = shapes, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_cast = func is torch.ops.aten._to_copy.default and (kwargs or {}).get("dtype") is torch.bfloat16
        self.count += is_cast and args[0].dtype == torch.float32 and args[0].shape in self.shapes
        return func(*args, **(kwargs or {}))


def casts(network: Network, scope: Callable[[nn.Module], AbstractContextManager[None]]) -> int:
    """Of the matrices of linear maps, in three micro-batches."""
    shapes = {part.weight.shape for part in network.modules() if isinstance(part, nn.Linear)}
    shapes |= {torch.Size((width * shape[0], shape[1])) for shape in shapes for width in (2, 3)}
    with Casts(shapes) as counter, scope(network):
        for batch in batches():
            with torch.autocast("cpu", torch.bfloat16):
                network(batch).float().sum().backward()
    return counter.count


@pytest.mark.parametrize("frozen_layers", [0, 1])
def test_each_weight_is_cast_once_a_step(tmp_path: Path, frozen_layers: int) -> None:
    hf = load(tmp_path, "xlm-roberta", layers=3)
    freeze(hf, Freeze(embeddings=frozen_layers > 0, layers=frozen_layers))
    network = Network(hf, pooled_last_layer=False).eval()
    tune(network, "cuda", "bf16", training=True)
    maps = [part for part in network.modules() if isinstance(part, nn.Linear)]
    apart, together = casts(network, alone), casts(network, packed_weights)
    # Apart: of a layer query, key and value as one product, and three more; of the head two.
    assert (apart, together) == (3 * (3 * 4 + 2), len(maps))
    network.hold_frozen(torch.bfloat16)
    assert casts(network, packed_weights) == len(maps) - 6 * frozen_layers


def test_the_plan_counts_what_the_casts_take() -> None:
    layers = nn.Sequential(nn.Linear(4, 6), nn.Embedding(9, 4), nn.Sequential(nn.Linear(6, 2)))
    assert cast_bytes(layers) == 0
    use_cast_once(layers)
    assert cast_bytes(layers) == 0, "autocast keeps as much through a pass, and the probe has seen it"
    layers[0].requires_grad_(False)
    assert cast_bytes(layers) == 2 * 4 * 6
    HeldInHalf.of(layers, torch.bfloat16)
    assert cast_bytes(layers) == 0


# ---- frozen weights ------------------------------------------------------------------------------------


def frozen(hf: Any, adapted: bool) -> Network:
    if adapted:
        hf, _ = add_lora(hf, Lora(rank=2, target_modules=["query", "value"], dropout=0.0))
    else:
        freeze(hf, Freeze(embeddings=True, layers=1))
    return Network(hf).eval()


@pytest.mark.parametrize("adapted", [False, True], ids=["frozen layers", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_maps_held_in_half_compute_the_same_and_come_back(tmp_path: Path, family: str, adapted: bool) -> None:
    network = frozen(load(tmp_path, family), adapted)
    tune(network, "cuda", "bf16", training=True)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    expected = passes(network, alone)
    saved = network.hold_frozen(torch.bfloat16)
    half = [name for name, value in network.named_parameters() if value.dtype == torch.bfloat16]
    held = sum(before[name].nbytes for name in half)
    assert saved == held / 2 > 0
    assert not any(before[name].requires_grad or "embeddings." in name or "orm" in name for name in half), half
    for scope in (alone, packed_weights):
        assert same(passes(network, scope), expected)
    network.restore_frozen()
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())
    assert all(value.dtype == torch.float32 for value in network.parameters())


def test_what_the_cast_would_change_stays(tmp_path: Path) -> None:
    """DoRA takes the norm of a frozen weight in fp32; fp16 has no number beyond 65504."""
    hf, _ = add_lora(load(tmp_path, "xlm-roberta"), Lora(rank=2, target_modules=["query"], dora=True))
    network = Network(hf)
    network.hold_frozen(torch.bfloat16)
    half = {name for name, value in network.named_parameters() if value.dtype == torch.bfloat16}
    assert half
    assert not any("query" in name for name in half)
    wide = nn.Linear(2, 2).requires_grad_(False)
    wide.weight.data[0, 0] = 1e5
    HeldInHalf.of(wide, torch.float16)
    assert (wide.weight.dtype, wide.bias.dtype) == (torch.float32, torch.float16)


def test_what_is_tied_to_the_embeddings_stays() -> None:
    tied = nn.ModuleList([nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)]).requires_grad_(False)
    tied[1].weight = tied[0].weight
    assert HeldInHalf.of(tied, torch.bfloat16).originals == []
