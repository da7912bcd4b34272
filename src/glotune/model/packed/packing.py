"""How the texts of a packed batch lie: where each begins, and how a padded product wants them.

Computed once per batch, where the batch lies: an accelerator never waits for the host's layout.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glotune.model.packed.kernels import PADDED, Kernels

_SIMILAR = 0.8
"""Texts at least this share of a group's longest join it: padding them costs less than a group of their own."""
_WASTE = 4096
"""Query-key pairs of padding that a group may hold in any case: about what one more group costs in calls."""
HIDDEN = -1e30
"""Added to the scores of keys out of sight: their weight is exactly 0."""


@dataclass(frozen=True)
class Group:
    """Texts of similar length, neighbours in the (length-sorted) batch, whose product is taken at once."""

    start: int
    """First token of the group."""
    stop: int
    first: int
    """First text of the group."""
    lengths: tuple[int, ...]
    longest: int
    slots_T: Tensor | None
    """[tokens] place of each token in the padded layout ``[texts * longest]``; None where all are equally long."""
    mask: Tensor | None
    """[texts, 1, 1, longest] additive float32, `HIDDEN` on padding; None where all are equally long."""

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self, rows_TH: Tensor) -> Tensor:
        """[T, H] of the whole batch, texts by length -> [texts, longest, H] of this group, zeros on padding."""
        rows = rows_TH[self.start : self.stop]
        rows = rows if self.slots_T is None else place(rows, self.slots_T, len(self) * self.longest)
        return rows.view(len(self), self.longest, -1)

    def local_mask(self, window: int, queries: int, device: torch.device) -> Tensor | None:
        """Adds local attention: |query - key| <= window (inclusive, as ModernBERT's).

        Args:
            queries: how many leading positions ask: `longest`, or 1 for the pooled token alone.
        """
        if self.longest - 1 <= window:
            return self.mask
        places = torch.arange(self.longest, device=device)
        apart = (places[:queries, None] - places[None, :]).abs()
        local = torch.zeros(apart.shape, device=device).masked_fill(apart > window, HIDDEN)[None, None]
        if self.mask is None:
            return local
        # Padding may see itself, and nothing else sees it: a query that sees no key at all has weights that a fused
        # kernel computes from differences of numbers as large as those that hide, and its gradient is not finite.
        return (self.mask + local).masked_fill(apart == 0, 0.0)


@dataclass(frozen=True)
class Packing:
    """The layout of B texts of T tokens."""

    lengths: tuple[int, ...]
    cu_seqlens: Tensor
    """[B + 1] int32, on the batch's device"""
    device: torch.device
    kernels: Kernels = PADDED
    _hidden: dict[tuple[int, int | None, torch.dtype], Tensor | None] = field(default_factory=dict, compare=False)
    """See `hidden`."""

    @cached_property
    def starts_B(self) -> Tensor:
        """[B] int64: the first token of each text."""
        return self.cu_seqlens[:-1].long()

    @cached_property
    def texts_T(self) -> Tensor:
        """[T] int64: the text of each token."""
        tokens = torch.arange(sum(self.lengths), device=self.device, dtype=self.cu_seqlens.dtype)
        return torch.bucketize(tokens, self.cu_seqlens[1:], right=True)

    @cached_property
    def longest(self) -> int:
        return max(self.lengths)

    @cached_property
    def _sorted_texts(self) -> NDArray[np.int64] | None:
        """Texts by length where the batch isn't in that order already; one group needs no order."""
        if self.device.type != "cpu":
            return None
        lengths = np.asarray(self.lengths)
        return None if (np.diff(lengths) >= 0).all() else np.argsort(lengths, kind="stable")

    @cached_property
    def text_order_B(self) -> Tensor | None:
        """[B] int64: text by length -> text of the batch; None where the batch is in order."""
        texts = self._sorted_texts
        return None if texts is None else torch.from_numpy(texts).to(self.device)

    @cached_property
    def token_order_T(self) -> Tensor | None:
        """[T] int64: token with texts by length -> token of the batch; None where the batch is in order."""
        texts = self._sorted_texts
        if texts is None:
            return None
        lengths = np.asarray(self.lengths)
        starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
        order = np.concatenate([np.arange(starts[text], starts[text] + lengths[text]) for text in texts])
        return torch.from_numpy(order).to(self.device)

    def hidden(self, group: Group, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """[texts or 1, 1, longest, longest]: what is added to a group's scores, the same for all heads and layers.

        Laid out in full once: adding one row of a mask to every row of short texts takes eight times as long.
        """
        key = (group.first, window, dtype)
        if key not in self._hidden:
            longest = group.longest
            mask = group.mask if window is None else group.local_mask(window, longest, self.device)
            self._hidden[key] = (
                None if mask is None else added(mask, dtype).expand(-1, -1, longest, longest).contiguous()
            )
        return self._hidden[key]

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The texts by length, in groups of similar length; on a GPU in one, where calls cost more than padding."""
        if self.device.type != "cpu":
            return (self._only_group(),)
        # Sorted, so that texts of like length are neighbours and a group is one slice of the batch's tokens.
        lengths = sorted(self.lengths)
        bounds = _bounds(lengths)
        starts = [0, *np.cumsum(lengths).tolist()]
        return tuple(self._group(first, starts[first], tuple(lengths[first:last])) for first, last in pairwise(bounds))

    def _only_group(self) -> Group:
        """All texts, in the batch's order, laid out on their device: nothing is copied from the host."""
        total, longest = sum(self.lengths), self.longest
        if min(self.lengths) == longest:
            return Group(0, total, 0, self.lengths, longest, None, None)
        texts, within = places_of(self.cu_seqlens, total)
        is_text = torch.arange(longest, device=self.device) < self.cu_seqlens.diff().unsqueeze(1)
        padding = torch.zeros(is_text.shape, device=self.device).masked_fill(~is_text, HIDDEN)
        return Group(0, total, 0, self.lengths, longest, texts * longest + within, padding[:, None, None])

    def _group(self, first: int, start: int, lengths: tuple[int, ...]) -> Group:
        longest = lengths[-1]
        stop = start + sum(lengths)
        if lengths[0] == longest:
            return Group(start, stop, first, lengths, longest, None, None)
        sizes = np.asarray(lengths)
        # Token t of text i goes to place i * longest + (t - start of i): one gather in, one out, no loop over texts.
        ends = np.cumsum(sizes)
        within = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
        slots = np.repeat(np.arange(len(sizes)) * longest, sizes) + within
        padding = np.where(np.arange(longest)[None] < sizes[:, None], 0.0, HIDDEN).astype(np.float32)
        return Group(
            start,
            stop,
            first,
            lengths,
            longest,
            torch.from_numpy(slots).to(self.device),
            torch.from_numpy(padding)[:, None, None].to(self.device),
        )


def _bounds(lengths: list[int]) -> list[int]:
    """Cuts ascending lengths into groups from the longest down; returns the groups' bounds, ascending."""
    # From the longest down, because the longest sets what every other text of its group is padded to. The cost of
    # padding is counted in query-key pairs, which grow with the square of the length; a new group costs one more call.
    bounds, longest, waste = [len(lengths)], lengths[-1], 0
    for index in range(len(lengths) - 1, -1, -1):
        length = lengths[index]
        waste += longest * longest - length * length
        if length < _SIMILAR * longest and waste > _WASTE:
            bounds.append(index + 1)
            longest, waste = length, 0
    return [0, *reversed(bounds)]


def places_of(bounds: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """[T] the text of each token, and its place there, from the texts' bounds: where they lie, without a wait."""
    texts = torch.repeat_interleave(
        torch.arange(len(bounds) - 1, device=bounds.device), bounds.diff().long(), output_size=total
    )
    within = torch.arange(total, device=bounds.device) - bounds.long().index_select(0, texts)
    return texts, within


def mean_by_text(tokens_TH: Tensor, bounds: Tensor) -> Tensor:
    """[B, H] float32: the mean over the tokens of each text, in sums that every device has, forward and back.

    Args:
        bounds: [B + 1] as `PackedBatch.cu_seqlens`; no text is empty.
    """
    texts_T, _ = places_of(bounds, len(tokens_TH))
    sums_BH = tokens_TH.new_zeros(len(bounds) - 1, tokens_TH.shape[1], dtype=torch.float32)
    return sums_BH.index_add(0, texts_T, tokens_TH.float()) / bounds.diff().unsqueeze(1)


def added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as it is added to scores of this type: finite in fp16 too, whose range ends at 65504."""
    return (mask.clamp(min=torch.finfo(dtype).min) if dtype == torch.float16 else mask).to(dtype)


class Place(torch.autograd.Function):
    """``out[slots] = rows`` in a matrix of zeros. Slots are distinct, so the way back is a plain gather."""

    @staticmethod
    def forward(ctx: Any, rows_TH: Tensor, slots_T: Tensor, size: int) -> Tensor:
        """Args: rows_TH [T, H]; slots_T [T]; size of the result's first dimension."""
        ctx.save_for_backward(slots_T)
        return rows_TH.new_zeros(size, rows_TH.shape[1]).index_copy_(0, slots_T, rows_TH)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of the rows."""
        (slots_T,) = ctx.saved_tensors
        return grad[0].index_select(0, slots_T), None, None


class Take(torch.autograd.Function):
    """``rows[slots]`` for distinct slots: the way back places rows instead of adding them one by one."""

    @staticmethod
    def forward(ctx: Any, rows_TH: Tensor, slots: Tensor) -> Tensor:
        """Args: rows_TH [T, H]; slots [N] distinct."""
        ctx.save_for_backward(slots)
        ctx.size = rows_TH.shape[0]
        return rows_TH.index_select(0, slots)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        """The gradient of the rows: zero where none was taken."""
        (slots,) = ctx.saved_tensors
        return grad[0].new_zeros(ctx.size, grad[0].shape[1]).index_copy_(0, slots, grad[0].contiguous()), None


def place(rows_TH: Tensor, slots_T: Tensor, size: int) -> Tensor:
    """`Place` with a typed signature: [T, H] -> [size, H]."""
    return Place.apply(rows_TH, slots_T, size)


def take(rows_TH: Tensor, slots: Tensor) -> Tensor:
    """`Take` with a typed signature: [T, H], [N] -> [N, H]."""
    return Take.apply(rows_TH, slots)
