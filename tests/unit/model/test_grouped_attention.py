"""Attention over groups on a CPU against plain attention, text by text: outputs and gradients, dropout included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glotune.model.cpu.dropout import scaled_mask
from glotune.model.packed.attention import attend
from glotune.model.packed.grouped import How
from glotune.model.packed.packing import Packing

HEADS, WIDTH = 2, 3


def how_of(lengths: list[int], dropout: float = 0.0, window: int | None = None) -> How:
    bounds = torch.tensor([0, *lengths]).cumsum(0).int()
    return How(Packing(tuple(lengths), bounds, torch.device("cpu")), HEADS, WIDTH**-0.5, dropout, window)


def attend_in_groups(fused_TX: Tensor, how: How) -> Tensor:
    """By way of `attend`, which brings the texts into the groups' order and back."""
    query, key, value = fused_TX.view(len(fused_TX), 3, HEADS, WIDTH).unbind(1)
    return attend(query, key, value, how.packing, how.scale, how.dropout, how.window).flatten(1)


def text_by_text(fused_TX: Tensor, lengths: list[int], window: int | None) -> Tensor:
    parts = []
    for rows in fused_TX.split(lengths):
        query, key, value = rows.view(len(rows), 3, HEADS, WIDTH).permute(1, 2, 0, 3)
        scores = query @ key.transpose(1, 2) * WIDTH**-0.5
        if window is not None:
            places = torch.arange(len(rows))
            scores = scores.masked_fill((places[:, None] - places).abs() > window, -torch.inf)
        parts.append((scores.softmax(-1) @ value).transpose(0, 1).flatten(1))
    return torch.cat(parts)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=7),
    window=st.sampled_from([None, 1, 5]),
    order=st.booleans(),
)
def test_outputs_and_gradients_are_those_of_each_text(lengths: list[int], window: int | None, order: bool) -> None:
    torch.manual_seed(0)
    lengths = sorted(lengths) if order else lengths
    fused_TX = torch.randn(sum(lengths), 3 * HEADS * WIDTH, dtype=torch.float64, requires_grad=True)
    probe_TH = torch.randn(sum(lengths), HEADS * WIDTH, dtype=torch.float64)
    found, expected = (
        attend_in_groups(fused_TX, how_of(lengths, window=window)),
        text_by_text(fused_TX, lengths, window),
    )
    assert (found - expected).abs().max() < 1e-12
    gradients = [torch.autograd.grad((each * probe_TH).sum(), fused_TX)[0] for each in (found, expected)]
    assert (gradients[0] - gradients[1]).abs().max() < 1e-11


@pytest.mark.parametrize("lengths", [[4, 4], [1, 2, 5, 3]])
def test_under_dropout_the_gradient_is_that_of_the_same_mask(lengths: list[int]) -> None:
    fused_TX = torch.randn(sum(lengths), 3 * HEADS * WIDTH, dtype=torch.float64, requires_grad=True)

    def seeded(values: Tensor) -> Tensor:
        torch.manual_seed(7)
        return attend_in_groups(values, how_of(lengths, dropout=0.4))

    assert torch.autograd.gradcheck(seeded, fused_TX)
    assert not torch.allclose(seeded(fused_TX), attend_in_groups(fused_TX, how_of(lengths)))


def test_dropout_drops_weights_and_keeps_their_mean() -> None:
    """With values of one, an answer is the sum of its weights: that of the mask's row over equal scores."""
    lengths = [6, 6, 6]
    fused_TX = torch.zeros(18, 3 * HEADS * WIDTH)
    fused_TX[:, 2 * HEADS * WIDTH :] = 1.0
    torch.manual_seed(3)
    found_TAD = attend_in_groups(fused_TX, how_of(lengths, dropout=0.5)).view(18, HEADS, WIDTH)
    torch.manual_seed(3)
    mask = scaled_mask(torch.Size((3, HEADS, 6, 6)), 0.5, torch.float32)
    assert torch.allclose(found_TAD[..., 0], mask.mean(-1).transpose(1, 2).reshape(18, HEADS))


def test_half_precision_is_near_and_leaves_its_input_alone() -> None:
    torch.manual_seed(1)
    for lengths in ([1], [3, 9, 30], [30, 3, 9]):
        fused_TX = torch.randn(sum(lengths), 3 * HEADS * WIDTH).bfloat16().requires_grad_()
        before = fused_TX.detach().clone()
        found = attend_in_groups(fused_TX, how_of(lengths))
        found.float().square().sum().backward()
        exact = fused_TX.detach().double().requires_grad_()
        expected = text_by_text(exact, lengths, None)
        expected.square().sum().backward()
        assert fused_TX.grad is not None
        assert exact.grad is not None
        assert torch.equal(fused_TX.detach(), before)
        assert (found - expected).abs().max() < 0.03
        assert (fused_TX.grad - exact.grad).abs().max() < 0.02 * exact.grad.abs().max() + 0.02
