"""What the loop works with, assembled once by the spine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from glotune.data.batches import Rows, cut
from glotune.data.packed import IdMap, PackedBatch, collate
from glotune.data.texts import TextData
from glotune.data.tokenization import TokenStore
from glotune.engine.forward import Through, autocast, forward
from glotune.engine.processes import Processes
from glotune.model.network import Network
from glotune.recipe import Recipe
from glotune.run.records import Plan


class Prefix(Protocol):
    """Cached output of the frozen prefix for the texts of one split."""

    def rows(self, rows: Rows) -> Tensor:
        """Hidden_TH of these texts, end to end, on the host."""
        ...


@dataclass(frozen=True)
class Parts:
    """The recipe, the model and the data of one run, ready for the device."""

    recipe: Recipe
    plan: Plan
    processes: Processes
    labels: list[str]
    source_languages: list[str]
    network: Network
    stores: Mapping[str, TokenStore]
    class_weights: NDArray[np.float32] | None
    id_map: IdMap | None = None
    prefixes: Mapping[str, Prefix] = field(default_factory=dict)
    """Split -> cached output of the frozen prefix; a split without one is computed afresh."""
    texts: TextData | None = None
    """What the stores were tokenized from, for messages to people; pretraining goes without."""

    @property
    def device(self) -> torch.device:
        return self.processes.device

    @cached_property
    def trainable(self) -> dict[str, nn.Parameter]:
        """Name -> parameter that training changes, in the model's order."""
        return {name: value for name, value in self.network.hf.named_parameters() if value.requires_grad}

    def autocast(self) -> AbstractContextManager[None]:
        """bf16 products with fp32 masters, or nothing."""
        return autocast(self.device, self.plan.precision)

    def forward(
        self, batches: Iterable[PackedBatch], through: Through | None = None
    ) -> Iterator[tuple[PackedBatch, Tensor]]:
        """`glotune.engine.forward.forward` through this network, on this device, in the plan's precision."""
        return forward(batches, self.network, device=self.device, precision=self.plan.precision, through=through)

    def micro_batches(self, split: str, rows: Rows, token_budget: int) -> list[PackedBatch]:
        """Cuts the texts at `rows` of a split by length under the budget, on the host."""
        return list(self.micro_batches_lazily(split, rows, token_budget))

    def micro_batches_lazily(self, split: str, rows: Rows, token_budget: int) -> Iterator[PackedBatch]:
        """`micro_batches`, one at a time: for splits that need not fit in memory."""
        lengths = self.stores[split].lengths
        batching, max_length = self.recipe.train.batching, self.recipe.data.max_length
        for piece, pad_to in cut(rows, lengths, token_budget, batching, max_length):
            yield self.load(split, piece, pad_to)

    def load(self, split: str, rows: Rows, pad_to: int | None) -> PackedBatch:
        """The texts at `rows` of a split as one micro-batch on the host, in memory that a GPU copies from by itself."""
        batch = collate(self.stores[split], rows, pad_to, self.id_map)
        prefix = self.prefixes.get(split)
        loaded = batch if prefix is None else replace(batch, hidden_TH=prefix.rows(rows))
        return loaded.pinned() if self.device.type == "cuda" else loaded
