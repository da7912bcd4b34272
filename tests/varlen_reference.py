"""The contract of the variable-length kernels in plain torch, to stand in for them where there is no GPU."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from glotune.model.packed import attention
from glotune.model.packed.kernels import Kernels


def reference_varlen(
    kernel: str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_q: Tensor,
    cu_k: Tensor,
    max_q: int,
    max_k: int,
    scale: float,
    dropout: float = 0.0,
    window: int | None = None,
) -> Tensor:
    """One text after the other; windows of unequal lengths align at the last key, as flash attention's do."""
    assert cu_q.dtype == cu_k.dtype == torch.int32
    assert kernel == "flash" or window is None
    parts = []
    for (q0, q1), (k0, k1) in zip(itertools.pairwise(cu_q), itertools.pairwise(cu_k), strict=True):
        assert q1 - q0 <= max_q
        assert k1 - k0 <= max_k
        scores = torch.einsum("qad,kad->aqk", query[q0:q1], key[k0:k1]) * scale
        if window is not None:
            shift = (k1 - k0) - (q1 - q0)
            distance = torch.arange(k1 - k0) - (torch.arange(q1 - q0)[:, None] + shift)
            scores = scores.masked_fill(distance.abs() > window, -torch.inf)
        weights = torch.nn.functional.dropout(scores.softmax(-1), dropout, training=dropout > 0)
        parts.append(torch.einsum("aqk,kad->qad", weights, value[k0:k1]))
    return torch.cat(parts)


@contextmanager
def kernels_on_the_cpu(varlen: Any = reference_varlen) -> Iterator[None]:
    """Lets a CPU take the way of a GPU with these kernels, with a stand-in for the kernels themselves."""

    def of(self: Kernels, query: Tensor, window: int | None, dropout: float = 0.0) -> str:
        kernel = self.half if query.dtype in (torch.bfloat16, torch.float16) else self.full
        if dropout > 0.0 and kernel in self.undropped:
            return "sdpa"
        return "sdpa" if kernel == "efficient" and window is not None else kernel

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kernels, "of", of)
        patch.setattr(attention, "varlen", varlen)
        yield
