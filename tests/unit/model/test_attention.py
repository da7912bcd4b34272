"""The attention product itself: against a plain loop over texts, by every way it can run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glotune.model.card import Card
from glotune.model.packed.attention import attend
from glotune.model.packed.kernels import Kernels, kernels_of
from glotune.model.packed.packing import Group, Packing, _bounds, place, take
from varlen_reference import kernels_on_the_cpu


def packing_of(lengths: Sequence[int]) -> Packing:
    ends = torch.tensor([0, *lengths]).cumsum(0).int()
    return Packing(tuple(lengths), ends, torch.device("cpu"))


def plain(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], window: int | None) -> Tensor:
    """One text after the other, softmax written out. [T, A, D] each."""
    parts, start = [], 0
    for length in lengths:
        rows = slice(start, start + length)
        scores = torch.einsum("qad,kad->aqk", query[rows], key[rows]) * query.shape[-1] ** -0.5
        if window is not None:
            places = torch.arange(length)
            scores = scores.masked_fill((places[:, None] - places).abs() > window, -torch.inf)
        parts.append(torch.einsum("aqk,kad->qad", scores.softmax(-1), value[rows]))
        start += length
    return torch.cat(parts)


DTYPES = (torch.float32, torch.float16)
Lengths = st.lists(st.integers(1, 40), min_size=1, max_size=9)


@settings(max_examples=60, deadline=None)
@given(lengths=Lengths, window=st.sampled_from([None, 1, 4, 64]), pooled=st.booleans(), seed=st.integers(0, 99))
def test_as_the_plain_loop(lengths: list[int], window: int | None, pooled: bool, seed: int) -> None:
    torch.manual_seed(seed)
    tensors = torch.randn(3, sum(lengths), 2, 4, requires_grad=True)
    packing = packing_of(lengths)
    starts = packing.starts_B
    expected = plain(*tensors, lengths, window)
    expected = expected[starts] if pooled else expected
    query, key, value = tensors
    found = attend(query[starts] if pooled else query, key, value, packing, window=window)
    assert (found - expected).abs().max() < 1e-5
    weights = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), tensors)
    (grad,) = torch.autograd.grad((found * weights).sum(), tensors)
    assert (grad - wanted).abs().max() < 1e-5


@settings(max_examples=30, deadline=None)
@given(lengths=Lengths, window=st.sampled_from([None, 4]), pooled=st.booleans())
def test_the_plain_product_of_bf16(lengths: list[int], window: int | None, pooled: bool) -> None:
    """The way of bf16 and of dropout, taken in bf16: as the loop, to bf16's precision."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, sum(lengths), 2, 4).bfloat16()
    packing = packing_of(lengths)
    expected = plain(query.float(), key.float(), value.float(), lengths, window)
    asked = query[packing.starts_B] if pooled else query
    expected = expected[packing.starts_B] if pooled else expected
    found = attend(asked, key, value, packing, window=window)
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().max() < 0.06


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("window", [None, 4])
def test_arguments_of_the_cuda_kernel(window: int | None, pooled: bool) -> None:
    """The kernel needs a GPU; what it is given is checked against its contract on the CPU."""
    lengths = (3, 17, 1, 9, 9)
    torch.manual_seed(0)
    query, key, value = torch.randn(3, sum(lengths), 2, 4)
    packing = replace(packing_of(lengths), kernels=Kernels("flash", "flash"))
    expected = plain(query, key, value, lengths, window)
    asked = query[packing.starts_B] if pooled else query
    expected = expected[packing.starts_B] if pooled else expected
    with kernels_on_the_cpu():
        found = attend(asked, key, value, packing, window=window)
    assert (found - expected).abs().max() < 1e-5


class OnItsDevice(Packing):
    """Laid out as on a GPU: one group, in the batch's order, by operations of the device."""

    @property
    def groups(self) -> tuple[Group, ...]:  # type: ignore[override]
        return (self._only_group(),)

    @property
    def _sorted_texts(self) -> None:  # type: ignore[override]
        return None


@settings(max_examples=60, deadline=None)
@given(lengths=Lengths, window=st.sampled_from([None, 1, 4, 64]), pooled=st.booleans(), dtype=st.sampled_from(DTYPES))
def test_the_layout_of_a_gpu(lengths: list[int], window: int | None, pooled: bool, dtype: torch.dtype) -> None:
    """One group, made from the texts' bounds alone; finite masks in fp16 too, where padding sees no key."""
    torch.manual_seed(0)
    tensors = torch.randn(3, sum(lengths), 2, 4).to(dtype).requires_grad_()
    packing = OnItsDevice(**vars(packing_of(lengths)))
    expected = plain(*tensors.detach().float(), lengths, window)
    expected = expected[packing.starts_B] if pooled else expected
    query, key, value = tensors
    found = attend(query[packing.starts_B] if pooled else query, key, value, packing, window=window)
    assert (found.float() - expected).abs().max() < (1e-5 if dtype == torch.float32 else 0.02)
    (gradient,) = torch.autograd.grad(found.float().sum(), tensors)
    assert gradient.isfinite().all()


def test_under_a_window_every_query_sees_a_key_padding_too() -> None:
    """A fused kernel's gradient is not finite where a query sees none (an H200)."""
    (group,) = OnItsDevice(**vars(packing_of((3, 17, 1, 9)))).groups
    mask = group.local_mask(4, group.longest, torch.device("cpu"))
    assert mask is not None
    assert mask.shape == (4, 1, 17, 17)
    assert (mask == 0).any(dim=-1).all()
    tokens = torch.arange(17)
    for text, length in enumerate((3, 17, 1, 9)):
        seen = (mask[text, 0] == 0) & (tokens[:, None] < length)
        near = (tokens[:, None] - tokens).abs() <= 4
        assert torch.equal(seen, near & (tokens[:, None] < length) & (tokens < length)), "and no text sees padding"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("window", [None, 4])
def test_cuda_kernel(window: int | None, pooled: bool) -> None:
    lengths = (3, 17, 1, 9, 9)
    torch.manual_seed(0)
    query, key, value = torch.randn(3, sum(lengths), 2, 64)
    packing = packing_of(lengths)
    expected = plain(query, key, value, lengths, window)
    asked = query[packing.starts_B] if pooled else query
    expected = expected[packing.starts_B] if pooled else expected
    kernels, _ = kernels_of(Card.of("cuda"), 64)
    device = Packing(packing.lengths, packing.cu_seqlens.cuda(), torch.device("cuda"), kernels)
    found = attend(asked.cuda().bfloat16(), key.cuda().bfloat16(), value.cuda().bfloat16(), device, window=window)
    assert (found.float().cpu() - expected).abs().max() < 0.06
    exact = attend(asked.cuda(), key.cuda(), value.cuda(), device, window=window)
    assert (exact.cpu() - expected).abs().max() < 1e-4


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 128), min_size=1, max_size=200).map(sorted))
def test_groups_cover_all_texts_and_waste_little(lengths: list[int]) -> None:
    bounds = _bounds(lengths)
    assert bounds[0] == 0
    assert bounds[-1] == len(lengths)
    assert all(left < right for left, right in itertools.pairwise(bounds))
    pairs = sum(length * length for length in lengths)
    asked = sum((b - a) * lengths[b - 1] ** 2 for a, b in itertools.pairwise(bounds))
    assert asked <= pairs / 0.8**2 + 4096 * len(bounds)


def test_place_and_take_are_each_others_way_back() -> None:
    rows = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    slots = torch.tensor([5, 0, 2, 3])
    assert torch.autograd.gradcheck(lambda values: place(values, slots, 7), rows)
    assert torch.autograd.gradcheck(lambda values: take(values, torch.tensor([3, 1])), rows)
    assert torch.equal(take(place(rows, slots, 7), slots), rows)
