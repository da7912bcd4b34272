"""Attention of the first tokens without keys and values of the others, against attention with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from glotune.model.packed.attention import attend
from glotune.model.packed.packing import Packing
from glotune.model.packed.walk import attend_from_first, is_plain

HEADS, WIDTH, HIDDEN = 2, 4, 6


def packing_of(lengths: list[int]) -> Packing:
    ends = torch.tensor([0, *lengths]).cumsum(0).int()
    return Packing(tuple(lengths), ends, torch.device("cpu"))


class Case:
    """Maps, tokens and queries of some texts."""

    def __init__(self, lengths: list[int], seed: int, *, bias: bool = True) -> None:
        torch.manual_seed(seed)
        self.packing = packing_of(lengths)
        self.key, self.value = (nn.Linear(HIDDEN, HEADS * WIDTH, bias=bias).double() for _ in range(2))
        self.tokens = torch.randn(sum(lengths), HIDDEN, dtype=torch.float64, requires_grad=True)
        self.query = torch.randn(len(lengths), HEADS, WIDTH, dtype=torch.float64, requires_grad=True)

    def with_all(self, dropout: float = 0.0) -> Tensor:
        key, value = (part(self.tokens).view(-1, HEADS, WIDTH) for part in (self.key, self.value))
        return attend(self.query, key, value, self.packing, 0.3, dropout)

    def absorbed(self, dropout: float = 0.0) -> Tensor:
        return attend_from_first(self.query, self.tokens, self.key, self.value, self.packing, 0.3, dropout)

    def gradients(self, way: Callable[[], Tensor], weights: Tensor) -> tuple[Tensor, ...]:
        inputs = (self.tokens, self.query, *self.key.parameters(), *self.value.parameters())
        return torch.autograd.grad((way() * weights).sum(), inputs)


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=9), seed=st.integers(0, 99), bias=st.booleans())
def test_answers_and_gradients_are_those_of_all_keys_and_values(lengths: list[int], seed: int, bias: bool) -> None:
    case = Case(lengths, seed, bias=bias)
    weights = torch.randn(len(lengths), HEADS, WIDTH, dtype=torch.float64)
    assert (case.absorbed() - case.with_all()).abs().max() < 1e-12
    pairs = zip(case.gradients(case.absorbed, weights), case.gradients(case.with_all, weights), strict=True)
    assert all((found - wanted).abs().max() < 1e-11 for found, wanted in pairs)


def test_dropout_falls_on_the_same_weights() -> None:
    """With a bias of the values too: what is left of the weights no longer sums to one."""
    case = Case([5, 5, 9, 17, 2], 3)
    torch.manual_seed(1)
    wanted = case.with_all(0.4)
    torch.manual_seed(1)
    found = case.absorbed(0.4)
    assert (found - wanted).abs().max() < 1e-12
    assert (found - case.absorbed()).abs().max() > 1e-2


def test_bf16_autocast_comes_as_near_as_all_keys_and_values_do() -> None:
    torch.manual_seed(0)
    lengths = [7, 12, 12, 30]
    key, value = nn.Linear(64, 64), nn.Linear(64, 64)
    tokens, query = torch.randn(sum(lengths), 64), torch.randn(len(lengths), 4, 16)
    packing = packing_of(lengths)
    exact = attend(query, key(tokens).view(-1, 4, 16), value(tokens).view(-1, 4, 16), packing)
    with torch.autocast("cpu", torch.bfloat16):
        half = query.bfloat16()
        near = attend(half, key(tokens).view(-1, 4, 16), value(tokens).view(-1, 4, 16), packing)
        found = attend_from_first(half, tokens, key, value, packing, 0.25)
    assert found.dtype == near.dtype == torch.bfloat16
    assert (found - exact).abs().max() < 2 * (near - exact).abs().max() + 1e-3


def test_an_adapted_map_is_not_plain() -> None:
    from peft import LoraConfig
    from peft.tuners.lora.layer import Linear as Adapted

    plain = nn.Linear(4, 4)
    assert is_plain(plain)
    assert not is_plain(Adapted(plain, "default", LoraConfig(r=2), r=2, lora_alpha=2))


@pytest.mark.parametrize("lengths", [[3], [1, 1, 1]])
def test_texts_of_one_token_or_one_text(lengths: list[int]) -> None:
    case = Case(lengths, 0)
    assert (case.absorbed() - case.with_all()).abs().max() < 1e-12
