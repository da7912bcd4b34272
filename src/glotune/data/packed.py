"""The one batch layout: texts laid end to end, without padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glotune.data.tokenization import TokenStore

IdMap = Callable[[NDArray[np.int32]], NDArray[np.int32]]
"""Maps the tokenizer's ids to the rows of the (trimmed) embedding matrix."""
TENSORS = ("input_ids", "position_ids", "token_type_ids", "cu_seqlens", "hidden_TH")
"""Fields of a `PackedBatch` that go to the device, beside its targets."""


@dataclass(frozen=True)
class PackedBatch:
    """B texts of T tokens in all; text b occupies tokens ``cu_seqlens[b]`` to ``cu_seqlens[b + 1]``."""

    input_ids: Tensor
    """[T] int64"""
    position_ids: Tensor
    """[T] int64, from 0 within each text; a family's offset is the model's business."""
    token_type_ids: Tensor
    """[T] int64"""
    cu_seqlens: Tensor
    """[B + 1] int32"""
    lengths: tuple[int, ...]
    """Lengths of the B texts on the host, so that no step waits for the device."""
    rows: NDArray[np.int64]
    """[B] indices into the token store."""
    pad_to: int | None = None
    """None: packed. Otherwise every text is padded to this length (``batching: dynamic | fixed``)."""
    hidden_TH: Tensor | None = None
    """[T, H] float32, the output of the frozen prefix, where it is cached: the network starts after it."""
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    """What the task adds for its loss, by names of its own; the network looks at none of it."""

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_tokens(self) -> int:
        """T, without padding."""
        return sum(self.lengths)

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same batch on `device`, copied without waiting where the host memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> PackedBatch:
        """The same batch in page-locked host memory; only where there is a GPU."""
        return self._each(Tensor.pin_memory)

    def tensors(self) -> list[Tensor]:
        """All that go to the device."""
        return [*self._own().values(), *self.targets.values()]

    def _own(self) -> dict[str, Any]:
        return {name: each for name in TENSORS if (each := getattr(self, name)) is not None}

    def _each(self, change: Callable[[Tensor], Tensor]) -> PackedBatch:
        own: dict[str, Any] = {name: change(each) for name, each in self._own().items()}
        return replace(self, **own, targets={name: change(each) for name, each in self.targets.items()})


def collate(
    store: TokenStore,
    rows: NDArray[np.int64],
    pad_to: int | None = None,
    id_map: IdMap | None = None,
) -> PackedBatch:
    """Packs the texts at `rows` of the store, in that order.

    Args:
        pad_to: see `PackedBatch.pad_to`.
        id_map: applied to the token ids where the vocabulary was trimmed.
    """
    lengths = store.lengths[rows]
    tokens = np.concatenate([store.tokens[store.offsets[row] : store.offsets[row + 1]] for row in rows])
    cu_seqlens = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum(lengths, out=cu_seqlens[1:])
    # Positions start again at 0 in each text, as if it stood alone: packed must equal padded (C1).
    positions = np.arange(len(tokens), dtype=np.int64) - np.repeat(cu_seqlens[:-1].astype(np.int64), lengths)
    return PackedBatch(
        input_ids=torch.from_numpy((tokens if id_map is None else id_map(tokens)).astype(np.int64)),
        position_ids=torch.from_numpy(positions),
        token_type_ids=torch.from_numpy(_token_types(store, rows, len(tokens))),
        cu_seqlens=torch.from_numpy(cu_seqlens),
        lengths=tuple(int(length) for length in lengths),
        rows=rows,
        pad_to=pad_to,
    )


def _token_types(store: TokenStore, rows: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    if store.token_types is None:
        return np.zeros(total, dtype=np.int64)
    parts = [store.token_types[store.offsets[row] : store.offsets[row + 1]] for row in rows]
    return np.concatenate(parts).astype(np.int64)
