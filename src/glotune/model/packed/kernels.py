"""Attention over packed texts by an NVIDIA card's own kernels: no padding at all, with dropout or without.

torch carries two kernels that take the bounds of texts laid end to end and a dropout rate: flash attention (half
precision, compute capability 8.0 and newer; Dao 2023, arXiv:2307.08691) and memory-efficient attention (fp32 too, and
older cards; Rabe & Staats 2021, arXiv:2112.05682). Both operators are private, so `varlen` is the one place that calls
them, and `kernels_of` offers them only where their signature is the one that `varlen` was written for. What they answer
is compared with the padded product before a run's first step (`glotune.engine.fast_paths`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from glotune.model.card import AMPERE, Card

Kernel = Literal["flash", "efficient", "blocks", "sdpa"]
"""``sdpa``: texts are padded around torch's public product. ``blocks``: one product of all tokens with all, under a
mask of the texts, for devices that compile for each shape anew."""
HALF = (torch.bfloat16, torch.float16)
_OPERATORS: dict[Kernel, tuple[str, frozenset[str]]] = {
    "flash": (
        "_flash_attention_forward",
        frozenset(
            (
                "query",
                "key",
                "value",
                "cum_seq_q",
                "cum_seq_k",
                "max_q",
                "max_k",
                "dropout_p",
                "is_causal",
                "return_debug_mask",
                "scale",
                "window_size_left",
                "window_size_right",
            )
        ),
    ),
    "efficient": (
        "_efficient_attention_forward",
        frozenset(
            (
                "query",
                "key",
                "value",
                "bias",
                "cu_seqlens_q",
                "cu_seqlens_k",
                "max_seqlen_q",
                "max_seqlen_k",
                "dropout_p",
                "custom_mask_type",
                "compute_log_sumexp",
                "scale",
            )
        ),
    ),
}
"""Kernel -> its operator in ``torch.ops.aten``, and the arguments that `varlen` gives it by name."""


@dataclass(frozen=True)
class Kernels:
    """Which kernel takes which precision; `PADDED` is the plain path, on every device."""

    half: Kernel = "sdpa"
    full: Kernel = "sdpa"
    undropped: frozenset[Kernel] = frozenset()
    """Those that answer as they should without dropout alone: under dropout texts are padded."""

    def of(self, query: Tensor, window: int | None, dropout: float = 0.0) -> Kernel:
        """The kernel for this query. Memory-efficient attention knows no window that looks to both sides."""
        kernel = self.half if query.dtype in HALF else self.full
        if kernel == "blocks":
            return kernel
        if query.device.type == "cpu" or (kernel == "efficient" and window is not None):
            return "sdpa"
        return "sdpa" if dropout > 0.0 and kernel in self.undropped else kernel


PADDED = Kernels()
BLOCKS = Kernels("blocks", "blocks")


def kernels_of(card: Card, width: int) -> tuple[Kernels, str]:
    """(kernels, why) for heads of this width on a card."""
    if card.kind == "tpu":
        return BLOCKS, "batches of a few fixed shapes, one product under a mask of the texts"
    if card.kind != "cuda":
        return PADDED, "padding only around the attention product"
    if card.capability is None:
        return PADDED, "padding only around the attention product: the variable-length kernels are NVIDIA's"
    efficient: Kernel = "efficient" if _is_as_known("efficient") else "sdpa"
    if card.capability >= AMPERE and width <= 256 and width % 8 == 0 and _is_as_known("flash"):
        return Kernels("flash", efficient), "variable-length flash attention, nothing is padded"
    if efficient == "sdpa":
        return PADDED, f"torch {torch.__version__} has other variable-length kernels than the ones known here"
    why = "memory-efficient attention over the texts' bounds, nothing is padded"
    return Kernels("efficient", "efficient"), f"{why}; flash attention needs compute capability 8.0"


@cache
def _is_as_known(kernel: Kernel) -> bool:
    """Whether the operator takes what `varlen` gives it, and asks for nothing else."""
    name, given = _OPERATORS[kernel]
    operator = getattr(torch.ops.aten, name, None)
    if operator is None or not hasattr(operator, "default"):
        return False
    arguments = operator.default._schema.arguments
    known = {argument.name for argument in arguments}
    return given <= known and all(each.name in given or each.has_default_value() for each in arguments)


def varlen(
    kernel: Kernel,
    query_QAD: Tensor,
    key_TAD: Tensor,
    value_TAD: Tensor,
    bounds_q: Tensor,
    bounds_k: Tensor,
    longest_q: int,
    longest_k: int,
    scale: float,
    dropout: float = 0.0,
    window: int | None = None,
) -> Tensor:
    """Softmax attention of each text's queries over its keys, by one of torch's private operators.

    Args:
        query_QAD: [Q, A, D]; key and value [T, A, D].
        bounds_q: [B + 1] int32: text b asks with the queries from ``bounds_q[b]`` on; likewise `bounds_k` for keys.
        window: of flash attention alone: key j is seen by query i of a text only if |i - j| <= window.

    Returns:
        [Q, A, D], differentiable; the gradient draws the same dropout again from the saved state of the generator.
    """
    # Thirds of a fused projection do as they are: only the last dimension must lie together.
    query, key, value = (
        each if each.stride(-1) == 1 else each.contiguous() for each in (query_QAD, key_TAD, value_TAD)
    )
    if kernel == "flash":
        side = -1 if window is None else window
        return torch.ops.aten._flash_attention_forward(
            query=query,
            key=key,
            value=value,
            cum_seq_q=bounds_q,
            cum_seq_k=bounds_k,
            max_q=longest_q,
            max_k=longest_k,
            dropout_p=dropout,
            is_causal=False,
            return_debug_mask=False,
            scale=scale,
            window_size_left=side,
            window_size_right=side,
        )[0]
    found = torch.ops.aten._efficient_attention_forward(
        query=query.unsqueeze(0),
        key=key.unsqueeze(0),
        value=value.unsqueeze(0),
        bias=None,
        cu_seqlens_q=bounds_q,
        cu_seqlens_k=bounds_k,
        max_seqlen_q=longest_q,
        max_seqlen_k=longest_k,
        dropout_p=dropout,
        custom_mask_type=0,
        compute_log_sumexp=query.requires_grad or key.requires_grad or value.requires_grad,
        scale=scale,
    )[0]
    return found.squeeze(0)
