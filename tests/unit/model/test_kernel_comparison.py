"""Kernels that nobody here has run are compared before they are used: a right one passes, each wrong one is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from glotune.model.card import Card
from glotune.model.packed import kernels as known
from glotune.model.packed.comparison import compared
from glotune.model.packed.kernels import PADDED, Kernels, kernels_of, varlen
from varlen_reference import kernels_on_the_cpu, reference_varlen

CPU = torch.device("cpu")
FLASH = Kernels("flash", "efficient")


def faults(wrong: Callable[..., Tensor] = reference_varlen) -> list[str]:
    with kernels_on_the_cpu(wrong):
        return [fault for found in compared(FLASH, heads=4, width=32, device=CPU)[1].values() for fault in found]


def test_right_kernels_pass() -> None:
    before = torch.random.get_rng_state()
    assert faults() == []
    assert torch.equal(torch.random.get_rng_state(), before), "the run's randomness is as it was"


def changed(**change: Any) -> Callable[..., Tensor]:
    names = ("kernel", "query", "key", "value", "cu_q", "cu_k", "max_q", "max_k", "scale", "dropout", "window")

    def wrong(*given: Any, **named: Any) -> Tensor:
        arguments = dict(zip(names, given, strict=False)) | named
        arguments |= {name: make(arguments) for name, make in change.items()}
        return reference_varlen(**arguments)

    return wrong


def without_a_seed(*given: Any) -> Tensor:
    if given[9] > 0:
        torch.seed()
    return reference_varlen(*given)


def one_mask_for_ever(*given: Any) -> Tensor:
    if given[9] > 0:
        torch.manual_seed(7)
    return reference_varlen(*given)


class OtherMask(torch.autograd.Function):
    """The output under one dropout mask, the gradient under another."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *given: Any) -> Tensor:
        ctx.given, ctx.value = given, value
        return reference_varlen(given[0], given[1], given[2], value, *given[3:])

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Any, ...]:
        torch.manual_seed(99)
        with torch.enable_grad():
            value = ctx.value.detach().requires_grad_()
            again = reference_varlen(ctx.given[0], ctx.given[1], ctx.given[2], value, *ctx.given[3:])
        return (*torch.autograd.grad(again, value, grad[0]), *[None] * len(ctx.given))


def other_mask_back(*given: Any) -> Tensor:
    if given[9] == 0:
        return reference_varlen(*given)
    return OtherMask.apply(given[3], *given[:3], *given[4:])  # type: ignore[no-any-return]


def fails(*given: Any) -> Tensor:
    raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore lines")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (changed(scale=lambda given: given["scale"] * 1.3), "output is off"),
        (changed(window=lambda given: None), "output is off"),
        (changed(dropout=lambda given: given["dropout"] * 0.8), "of the weights"),
        (changed(dropout=lambda given: 0.0), "zeroes 0.00% of the weights"),
        (lambda *given: reference_varlen(*given) * (0.9 if given[9] else 1.0), "scales the weights"),
        (without_a_seed, "same seed draws another"),
        (one_mask_for_ever, "every seed draws the same"),
        (other_mask_back, "under another dropout mask"),
        (lambda *given: reference_varlen(*given).detach() + 0 * given[3].sum(), "gradient is off"),
        (lambda *given: reference_varlen(*given) * float("nan"), "output is off by inf"),
        (fails, "attention fails: CUDA error: no kernel image is available for execution on the device"),
    ],
    ids=["scale", "window", "rate", "no dropout", "scaling", "unseeded", "one mask", "other mask", "gradient", "nan",
         "error"],
)  # fmt: skip
def test_each_wrong_kernel_is_seen(wrong: Callable[..., Tensor], words: str) -> None:
    assert any(words in fault for fault in faults(wrong)), faults(wrong)


def test_without_kernels_there_is_nothing_to_compare() -> None:
    assert compared(PADDED, 2, 16, CPU) == (PADDED, {})


def test_one_kernel_that_is_wrong_does_not_stand_in_for_the_other() -> None:
    """What torch 2.11's memory-efficient attention was found to do on an H200: wrong under dropout, right without."""

    def wrong(*given: Any) -> Tensor:
        return other_mask_back(*given) if given[0] == "efficient" else reference_varlen(*given)

    with kernels_on_the_cpu(wrong):
        found, faults = compared(FLASH, heads=4, width=32, device=CPU)
    assert found == Kernels("flash", "efficient", frozenset({"efficient"}))
    assert list(faults) == ["efficient"]
    query = torch.empty(3, 2, 16, device="meta")
    assert found.of(query, None) == "efficient"
    assert found.of(query, None, dropout=0.1) == "sdpa"
    assert found.of(query.bfloat16(), None, dropout=0.1) == "flash"
    with kernels_on_the_cpu(lambda *given: wrong(*given) + (2.0 if given[0] == "flash" else 0.0)):
        found, _ = compared(FLASH, heads=4, width=32, device=CPU)
    assert found == Kernels("sdpa", "efficient", frozenset({"efficient"}))


@pytest.mark.parametrize(
    ("card", "half", "full"),
    [
        (Card("cuda", "T4", (7, 5)), "efficient", "efficient"),
        (Card("cuda", "V100", (7, 0)), "efficient", "efficient"),
        (Card("cuda", "A100", (8, 0)), "flash", "efficient"),
        (Card("cuda", "H100", (9, 0)), "flash", "efficient"),
        (Card("cuda", "MI300X"), "sdpa", "sdpa"),
        (Card("mps"), "sdpa", "sdpa"),
        (Card("cpu"), "sdpa", "sdpa"),
    ],
    ids=str,
)
def test_what_each_card_gets(card: Card, half: str, full: str) -> None:
    assert kernels_of(card, 64)[0] == Kernels(half, full)  # type: ignore[arg-type]


def test_heads_that_flash_attention_does_not_take() -> None:
    a100 = Card("cuda", "A100", (8, 0))
    assert kernels_of(a100, 65)[0].half == kernels_of(a100, 264)[0].half == "efficient"


def test_an_operator_of_another_signature_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch may change its private operators: one that lacks an argument, or asks for another, stays unused."""
    monkeypatch.setitem(known._OPERATORS, "flash", ("_efficient_attention_forward", known._OPERATORS["flash"][1]))
    known._is_as_known.cache_clear()
    assert kernels_of(Card("cuda", "A100", (8, 0)), 64)[0] == Kernels("efficient", "efficient")
    monkeypatch.setitem(known._OPERATORS, "efficient", ("_no_such_operator", known._OPERATORS["efficient"][1]))
    known._is_as_known.cache_clear()
    assert kernels_of(Card("cuda", "A100", (8, 0)), 64)[0] == PADDED
    monkeypatch.undo()
    known._is_as_known.cache_clear()


@pytest.mark.parametrize("kernel", ["flash", "efficient"])
def test_the_operators_take_what_they_are_given(kernel: known.Kernel) -> None:
    """On meta: the call itself, with thirds of a fused projection, dropout and more keys than queries."""
    meta = torch.device("meta")
    fused = torch.empty(10, 3 * 2 * 16, device=meta, requires_grad=True)
    query, key, value = (part.unflatten(-1, (2, 16)) for part in fused.split(32, dim=-1))
    bounds = torch.empty(3, dtype=torch.int32, device=meta)
    found = varlen(kernel, query[:2], key, value, bounds, bounds, 1, 6, 0.25, 0.1)
    assert found.shape == (2, 2, 16)
    assert found.requires_grad
    if kernel == "flash":  # the other one's way back has no shapes on meta
        assert torch.autograd.grad(found.sum(), fused)[0].shape == fused.shape
