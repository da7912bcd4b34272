"""Packed bf16 weights: bit for bit what autocast computes, and never older than the weights themselves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor, nn

from glotune.model.cpu import packed_weights as module
from glotune.model.cpu.packed_weights import (
    BYTES,
    PackedLinear,
    onednn_packs_bf16,
    packed_bytes,
    packed_weights,
    use_packed_weights,
)

needs_bf16 = pytest.mark.skipif(not onednn_packs_bf16(), reason="this processor or this torch has no bf16 products")


@pytest.fixture(autouse=True)
def narrow_maps_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NARROW", 1)


def packed_copy(plain: nn.Linear) -> nn.Linear:
    copy = nn.Linear(plain.in_features, plain.out_features, bias=plain.bias is not None)
    copy.load_state_dict(plain.state_dict())
    assert use_packed_weights(nn.Sequential(copy), "cpu", "bf16")
    assert type(copy) is PackedLinear
    return copy


def forward_and_back(
    layer: nn.Linear, values: Tensor, scope: Callable[[], AbstractContextManager[None]] = packed_weights
) -> list[Tensor]:
    """Output, and the gradients of the input and of what is trained."""
    layer.zero_grad()
    values = values.clone().requires_grad_()
    with scope():
        with torch.autocast("cpu", torch.bfloat16):
            output = layer(values)
        (output.float() * torch.arange(output.numel()).remainder(7).view(output.shape)).sum().backward()
    grads = [values.grad, *(each.grad for each in layer.parameters() if each.requires_grad)]
    return [output, *(grad for grad in grads if grad is not None)]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    pairs = zip(left, right, strict=True)
    return all(one.dtype == other.dtype and torch.equal(one, other) for one, other in pairs)


@needs_bf16
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inner", "outer"), [(96, 384), (384, 96), (33, 7), (768, 3)])
@pytest.mark.parametrize("shape", [(129,), (1, 37), (3, 5), (1,)])
def test_products_and_gradients_are_those_of_autocast(
    shape: tuple[int, ...], inner: int, outer: int, bias: bool
) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(inner, outer, bias=bias)
    values = torch.randn(*shape, inner)
    assert same(forward_and_back(packed_copy(plain), values), forward_and_back(plain, values))


@needs_bf16
def test_a_frozen_map_hands_gradients_on_and_takes_none() -> None:
    torch.manual_seed(0)
    plain = nn.Linear(24, 40).requires_grad_(False)
    layer = packed_copy(plain).requires_grad_(False)
    values = torch.randn(9, 24)
    found = forward_and_back(layer, values)
    assert len(found) == 2  # the output and the input's gradient
    assert same(found, forward_and_back(plain, values))
    with torch.no_grad(), packed_weights(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(values), found[0])


@needs_bf16
def test_copies_serve_every_product_of_their_scope_and_none_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    packings: list[tuple[int, ...]] = []
    own = module._packed
    monkeypatch.setattr(module, "_packed", lambda weight: (packings.append(tuple(weight.shape)), own(weight))[1])
    layer = packed_copy(nn.Linear(24, 40))
    values = torch.randn(9, 24)
    with packed_weights(layer):
        assert packings == [(40, 24), (24, 40)]  # both directions, before the first product
        before = forward_and_back(layer, values, nullcontext)
        forward_and_back(layer, values, nullcontext)
    assert len(packings) == 2
    with torch.no_grad():
        layer.weight.mul_(2.0)
        layer.bias.zero_()
    after = forward_and_back(layer, values)
    assert len(packings) == 4
    assert not torch.equal(after[0], before[0])
    assert same(after, forward_and_back(layer, values, nullcontext))


@needs_bf16
def test_it_goes_torchs_way_in_other_precisions_and_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = packed_copy(nn.Linear(8, 8))
    monkeypatch.setattr(module, "_product", lambda *_: pytest.fail("a packed product"))
    values = torch.randn(3, 8)
    with packed_weights():
        assert layer(values).dtype == torch.float32
        with torch.autocast("cpu", torch.float16):
            assert layer(values).dtype == torch.float16
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(values).dtype == torch.bfloat16


@needs_bf16
def test_narrow_maps_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NARROW", 6)
    layers = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 5), nn.Linear(5, 6), nn.Linear(6, 6))
    assert use_packed_weights(layers, "cpu", "bf16")
    assert [type(layer) is PackedLinear for layer in layers] == [True, False, False, True]


def test_nothing_changes_where_there_is_no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "onednn_packs_bf16", lambda: False)
    layers = nn.Sequential(nn.Linear(4, 4))
    assert not use_packed_weights(layers, "cpu", "bf16")
    assert type(layers[0]) is nn.Linear
    assert packed_bytes(layers) == 0


@pytest.mark.parametrize(("device", "precision"), [("cuda", "bf16"), ("cpu", "fp32")])
def test_a_model_that_runs_otherwise_is_never_packed(device: str, precision: str) -> None:
    layers = nn.Sequential(nn.Linear(4, 4))
    assert not use_packed_weights(layers, device, precision)
    assert type(layers[0]) is nn.Linear
    assert packed_bytes(layers) == 0


@needs_bf16
def test_the_plan_counts_what_the_copies_take() -> None:
    layers = nn.Sequential(nn.Linear(4, 6), nn.Embedding(9, 4), nn.Sequential(nn.Linear(6, 2)))
    use_packed_weights(layers, "cpu", "bf16")
    assert packed_bytes(layers) == BYTES * (4 * 6 + 6 * 2)
