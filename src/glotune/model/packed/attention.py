"""Attention over packed texts: exact, and padded nowhere but around the product.

The function registers with transformers' ``AttentionInterface`` under `NAME` and reads the layout from the keyword
argument `packing`; without it, it is transformers' own sdpa attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from glotune.model.cpu.dropout import dropout as drop
from glotune.model.packed.grouped import How, attend_in_groups
from glotune.model.packed.kernels import Kernel, varlen
from glotune.model.packed.packing import HIDDEN, Group, Packing, added, place, places_of, take

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
    heads = query_TAD.shape[1]
    order = packing.token_order_T
    query_order = packing.text_order_B if pooled else order
    query, key, value = query_TAD.flatten(1), key_TAD.flatten(1), value_TAD.flatten(1)
    if order is not None and query_order is not None:
        query, key, value = take(query, query_order), take(key, order), take(value, order)
    if pooled or _fuses(query_TAD, dropout):
        parts = [_product(query, key, value, group, heads, pooled, scale, dropout, window) for group in packing.groups]
        output = parts[0] if len(parts) == 1 else torch.cat(parts)
    else:
        output = attend_in_groups(torch.cat([query, key, value], dim=1), How(packing, heads, scale, dropout, window))
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
    """softmax(q k' * scale + mask) v, by torch's fused kernel or by plain products."""
    if _fuses(query_BALD, dropout):
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


def _asks_one_token_each(query_TAD: Tensor, key_TAD: Tensor, packing: Packing) -> bool:
    """Whether the queries are the texts' first tokens alone; False where every text has one token."""
    return bool(query_TAD.shape[0] == len(packing.lengths) != key_TAD.shape[0])


def _fuses(values: Tensor, dropout: float) -> bool:
    """Whether torch's fused kernel is the fastest way here.

    On a CPU it is slower than plain products in bf16 (12-64 tokens a text: 4-8 times) and falls back to an unfused path
    under dropout.
    """
    return values.device.type != "cpu" or (values.dtype == torch.float32 and dropout == 0.0)


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
    bias = torch.zeros(seen.shape, device=packing.device).masked_fill(~seen, HIDDEN)
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
    texts, within = places_of(bounds, sum(kept))
    index = packing.starts_B.index_select(0, texts) + within
    shape = (len(index), *key_TAD.shape[1:])
    key, value = (take(tensor.flatten(1), index).view(shape) for tensor in (key_TAD, value_TAD))
    return key, value, bounds, max(kept)
