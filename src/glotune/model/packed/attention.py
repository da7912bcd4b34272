"""Attention over packed texts: exact, and padded nowhere but around the product.

The function registers with transformers' ``AttentionInterface`` under `NAME` and reads the layout from the keyword
argument `packing`; without it, it is transformers' own sdpa attention. How the texts of a batch are laid out for the
product (`Packing`) is computed once per batch, where the batch lies: an accelerator never waits for the host's layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from glotune.model.cpu.dropout import dropout as drop
from glotune.model.packed.kernels import PADDED, Kernel, Kernels, varlen

NAME = "glotune_packed"
"""What ``config._attn_implementation`` says for packed families."""


def register() -> None:
    """Makes `NAME` known to transformers; calling it again changes nothing."""
    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packing: Packing | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """An attention function as transformers calls it.

    Args:
        query: [1, A, T, D] for a packed batch; key and value likewise.
        sliding_window: transformers' exclusive bound (ModernBERT passes half its window plus one).

    Returns:
        [1, T, A, D], and no attention weights.
    """
    if packing is None:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output, None
    window = None if sliding_window is None else sliding_window - 1
    query, key, value = (tensor.transpose(1, 2).squeeze(0) for tensor in (query, key, value))
    return attend(query, key, value, packing, scaling, dropout, window).unsqueeze(0), None


def attend(
    query_TAD: Tensor,
    key_TAD: Tensor,
    value_TAD: Tensor,
    packing: Packing,
    scaling: float | None = None,
    dropout: float = 0.0,
    window: int | None = None,
) -> Tensor:
    """Softmax attention of every token over its own text.

    Args:
        query_TAD: [T, A, D]; or [B, A, D], one query per text, that of its first token (the pooled one).
        window: with a window w, token i sees token j only if |i - j| <= w.

    Returns:
        The shape of the query.
    """
    scale = query_TAD.shape[-1] ** -0.5 if scaling is None else scaling
    kernel = packing.kernels.of(query_TAD, window, dropout)
    if kernel == "blocks":
        return _blocks(query_TAD, key_TAD, value_TAD, packing, scale, dropout, window)
    if kernel != "sdpa":
        return _varlen(kernel, query_TAD, key_TAD, value_TAD, packing, scale, dropout, window)
    pooled = _asks_one_token_each(query_TAD, key_TAD, packing)
    order = packing.token_order_T
    query_order = packing.text_order_B if pooled else order
    query, key, value = query_TAD.flatten(1), key_TAD.flatten(1), value_TAD.flatten(1)
    if order is not None and query_order is not None:
        query, key, value = take(query, query_order), take(key, order), take(value, order)
    heads = query_TAD.shape[1]
    parts = [_product(query, key, value, group, heads, pooled, scale, dropout, window) for group in packing.groups]
    output = parts[0] if len(parts) == 1 else torch.cat(parts)
    if query_order is not None:
        output = place(output, query_order, output.shape[0])
    return output.view(query_TAD.shape)


def _product(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    group: Group,
    heads: int,
    pooled: bool,
    scale: float,
    dropout: float,
    window: int | None,
) -> Tensor:
    """One group: [tokens or texts, A * D] of the whole batch in, those of the group out."""
    count, longest = len(group), group.longest
    queries = 1 if pooled else longest
    mask = group.mask if window is None else group.local_mask(window, queries, query.device)

    def laid_out(rows: Tensor) -> Tensor:
        return group.padded(rows).unflatten(-1, (heads, -1)).transpose(1, 2)

    if pooled:
        asked = query[group.first : group.first + count].view(count, 1, heads, -1).transpose(1, 2)
    else:
        asked = laid_out(query)
    output = _softmax_product(asked, laid_out(key), laid_out(value), mask, scale, dropout)
    flat = output.transpose(1, 2).reshape(count * queries, -1)
    return flat if pooled or group.slots_T is None else take(flat, group.slots_T)


def _softmax_product(
    query_BALD: Tensor, key_BALD: Tensor, value_BALD: Tensor, mask: Tensor | None, scale: float, dropout: float
) -> Tensor:
    """softmax(q k' * scale + mask) v, by the way that is fastest where it runs.

    On a CPU torch's fused kernel is slower than plain products in bf16 (12-64 tokens a text: 4-8 times) and falls
    back to an unfused path under dropout; the plain products below beat both.
    """
    on_cpu = query_BALD.device.type == "cpu"
    if not on_cpu or (query_BALD.dtype == torch.float32 and dropout == 0.0):
        bias = None if mask is None else added(mask, query_BALD.dtype)
        return functional.scaled_dot_product_attention(
            query_BALD, key_BALD, value_BALD, attn_mask=bias, dropout_p=dropout, scale=scale
        )
    scores = torch.matmul(query_BALD * scale, key_BALD.transpose(-1, -2))
    if mask is not None:
        scores = scores + added(mask, scores.dtype)
    weights = torch.softmax(scores, dim=-1).to(value_BALD.dtype)
    if dropout > 0.0:
        weights = drop(weights, dropout)
    return torch.matmul(weights, value_BALD)


def added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as it is added to scores of this type: finite in fp16 too, whose range ends at 65504."""
    return (mask.clamp(min=torch.finfo(dtype).min) if dtype == torch.float16 else mask).to(dtype)


def _asks_one_token_each(query_TAD: Tensor, key_TAD: Tensor, packing: Packing) -> bool:
    """Whether the queries are the texts' first tokens alone; False where every text has one token."""
    return bool(query_TAD.shape[0] == len(packing.lengths) != key_TAD.shape[0])


def _blocks(
    query_TAD: Tensor,
    key_TAD: Tensor,
    value_TAD: Tensor,
    packing: Packing,
    scale: float,
    dropout: float,
    window: int | None,
) -> Tensor:
    """One product of all tokens with all, the weights between texts masked: its shape is the batch's alone."""
    pooled = _asks_one_token_each(query_TAD, key_TAD, packing)
    asking = torch.arange(len(packing.lengths), device=packing.device) if pooled else packing.texts_T
    seen = asking.unsqueeze(1) == packing.texts_T
    if window is not None:
        tokens = torch.arange(key_TAD.shape[0], device=packing.device)
        places = packing.starts_B if pooled else tokens
        seen = seen & ((places.unsqueeze(1) - tokens).abs() <= window)
    bias = torch.zeros(seen.shape, device=packing.device).masked_fill(~seen, _HIDDEN)
    query, key, value = (tensor.transpose(0, 1).unsqueeze(0) for tensor in (query_TAD, key_TAD, value_TAD))
    return _softmax_product(query, key, value, bias[None, None], scale, dropout).squeeze(0).transpose(0, 1)


def _varlen(
    kernel: Kernel,
    query_TAD: Tensor,
    key_TAD: Tensor,
    value_TAD: Tensor,
    packing: Packing,
    scale: float,
    dropout: float,
    window: int | None,
) -> Tensor:
    """By a kernel that reads the texts' bounds: of all tokens, or of the first of each text."""
    bounds, longest = packing.cu_seqlens, packing.longest
    pooled = _asks_one_token_each(query_TAD, key_TAD, packing)
    if not pooled:
        return varlen(kernel, query_TAD, key_TAD, value_TAD, bounds, bounds, longest, longest, scale, dropout, window)
    if window is not None:
        # The kernel aligns windows of unequal lengths to the last key, but the pooled token is the first.
        key_TAD, value_TAD, bounds, longest = _heads_of_texts(key_TAD, value_TAD, packing, window)
    asked = torch.arange(len(packing.lengths) + 1, dtype=torch.int32, device=query_TAD.device)
    return varlen(kernel, query_TAD, key_TAD, value_TAD, asked, bounds, 1, longest, scale, dropout)


def _heads_of_texts(
    key_TAD: Tensor, value_TAD: Tensor, packing: Packing, window: int
) -> tuple[Tensor, Tensor, Tensor, int]:
    """The first window + 1 tokens of each text: all that its pooled token sees."""
    kept = [min(length, window + 1) for length in packing.lengths]
    bounds = functional.pad(packing.cu_seqlens.diff().clamp(max=window + 1).cumsum(0), (1, 0)).int()
    texts, within = _places(bounds, sum(kept))
    index = packing.starts_B.index_select(0, texts) + within
    shape = (len(index), *key_TAD.shape[1:])
    key, value = (take(tensor.flatten(1), index).view(shape) for tensor in (key_TAD, value_TAD))
    return key, value, bounds, max(kept)


def _places(bounds: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """[T] the text of each token, and its place there, from the texts' bounds: where they lie, without a wait."""
    texts = torch.repeat_interleave(
        torch.arange(len(bounds) - 1, device=bounds.device), bounds.diff().long(), output_size=total
    )
    within = torch.arange(total, device=bounds.device) - bounds.long().index_select(0, texts)
    return texts, within


_SIMILAR = 0.8
"""Texts at least this share of a group's longest join it: padding them costs less than a group of their own."""
_WASTE = 4096
"""Query-key pairs of padding that a group may hold in any case: about what one more group costs in calls."""
_HIDDEN = -1e30
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
    """[texts, 1, 1, longest] additive float32, `_HIDDEN` on padding; None where all are equally long."""

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
        local = torch.zeros(apart.shape, device=device).masked_fill(apart > window, _HIDDEN)[None, None]
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
        texts, within = _places(self.cu_seqlens, total)
        is_text = torch.arange(longest, device=self.device) < self.cu_seqlens.diff().unsqueeze(1)
        padding = torch.zeros(is_text.shape, device=self.device).masked_fill(~is_text, _HIDDEN)
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
        padding = np.where(np.arange(longest)[None] < sizes[:, None], 0.0, _HIDDEN).astype(np.float32)
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
