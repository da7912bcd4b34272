"""What the loop works with, assembled once by the spine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from glotune.data.batches import (
    IdMap,
    PackedBatch,
    Rows,
    by_length,
    collate,
    cut,
    effective_batches,
    epoch_order,
    filled,
)
from glotune.data.tokenization import TokenStore
from glotune.engine.forward import Through, autocast, forward
from glotune.engine.graphs import Graphs
from glotune.engine.processes import Processes
from glotune.model.network import Network
from glotune.recipe.settings import TrainingSettings
from glotune.run.records import Plan
from glotune.tasks.task import Task

HELD_TOKENS_AT_BASE = 4096
"""Number of tokens of a 768-wide, 12-layer encoder whose activations may be held at once on the host."""
Dress = Callable[[PackedBatch], PackedBatch]


class Prefix(Protocol):
    """Cached output of the frozen prefix for the texts of one split."""

    def rows(self, rows: Rows) -> Tensor:
        """Hidden_TH of these texts, end to end, on the host."""
        ...


@dataclass(frozen=True)
class Parts:
    """The settings, the task, the model and the data of one run, ready for the device."""

    settings: TrainingSettings
    plan: Plan
    processes: Processes
    task: Task
    network: Network
    stores: Mapping[str, TokenStore]
    id_map: IdMap | None = None
    prefixes: Mapping[str, Prefix] = field(default_factory=dict)
    """Split -> cached output of the frozen prefix; a split without one is recomputed."""
    graphs: Graphs | None = None
    """The network as training steps call it, where they are recorded."""

    @property
    def device(self) -> torch.device:
        return self.processes.device

    @cached_property
    def trainable(self) -> dict[str, nn.Parameter]:
        """Name -> parameter that training changes, in the model's order."""
        return {name: value for name, value in self.network.hf.named_parameters() if value.requires_grad}

    def autocast(self) -> AbstractContextManager[None]:
        """bf16 or fp16 products with fp32 masters, or nothing."""
        return autocast(self.device, self.plan.precision)

    def forward(
        self, batches: Iterable[PackedBatch], through: Through | None = None
    ) -> Iterator[tuple[PackedBatch, Tensor]]:
        """`glotune.engine.forward.forward` through this network, on this device, in the plan's precision."""
        return forward(batches, self.network, device=self.device, precision=self.plan.precision, through=through)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps."""
        return math.ceil(self.task.drawn / self.settings.train.batch_size)

    def epoch(self, number: int) -> list[Rows]:
        """The effective batches of an epoch: a function of the seed and the number alone."""
        settings, languages = self.settings, self.stores["train"].languages[: self.task.drawn]
        order = epoch_order(languages, settings.seed, number, settings.sampling_alpha)
        return effective_batches(order, settings.train.batch_size)

    def noisy(self, batch: PackedBatch) -> PackedBatch:
        """The batch, on the device, with a move of its word embeddings by nothing, whose gradient is asked for."""
        size = batch.num_tokens, self.network.anatomy.word_embeddings.embedding_dim
        return replace(batch, noise_TE=torch.zeros(size, device=self.device, requires_grad=True))

    def texts_of(self, step: int) -> TokenStore:
        """The training texts as the epoch of a step reads them; rows mean the same texts in every epoch."""
        store = self.stores["train"]
        return store.epochs[step // self.steps_per_epoch] if store.epochs else store

    def tokens_held(self, token_budget: int) -> int:
        """Tokens whose activations may be held at once: the budget on a GPU, where it is memory that sets it."""
        if self.device.type == "cuda":
            return token_budget
        size = self.network.hidden_size * self.network.num_layers
        return max(token_budget, HELD_TOKENS_AT_BASE * 768 * 12 // size)

    def micro_batches(
        self, split: str, rows: Rows, token_budget: int, dress: Dress | None = None, store: TokenStore | None = None
    ) -> Iterator[PackedBatch]:
        """Cuts the texts at `rows` of a split by length under the budget, on the host; one at a time is held.

        Args:
            dress: adds what the task needs.
            store: the split as one epoch reads it; as it is by default.
        """
        read, longest = store or self.stores[split], self.settings.max_length
        for piece, pad_to in cut(rows, read.costs, token_budget, self.settings.train.batching, longest):
            # Cut by the longer of two views, laid out by the first: a CPU's attention wants its texts by length.
            ordered = piece if read.twin is None else by_length(piece, read.lengths)
            yield self.load(split, ordered, None if pad_to is None else min(pad_to, longest), dress, read)

    def load(
        self, split: str, rows: Rows, pad_to: int | None, dress: Dress | None = None, store: TokenStore | None = None
    ) -> PackedBatch:
        """The texts at `rows` of a split as one micro-batch on the host, in memory that a GPU copies from by itself."""
        read, prefix = store or self.stores[split], self.prefixes.get(split)
        own_pad = pad_to if read.twin is None else self._padding(read, rows, pad_to)
        uncounted = self.network.uncounted
        batch = collate(read, rows, own_pad, self.id_map, by_text=prefix is not None, uncounted=uncounted)
        if read.twin is not None:
            twin_pad = self._padding(read.twin, rows, pad_to)
            batch = replace(batch, twin=collate(read.twin, rows, twin_pad, self.id_map, uncounted=uncounted))
        loaded = batch if prefix is None else replace(batch, hidden_TH=prefix.rows(rows))
        dressed = loaded if dress is None else dress(loaded)
        dressed = filled(dressed) if self.plan.attention == "blocks" else dressed
        return dressed.pinned() if self.device.type == "cuda" else dressed

    def _padding(self, view: TokenStore, rows: Rows, pad_to: int | None) -> int | None:
        """What one of two views is padded to, where the longer one is padded to `pad_to`: the longest of its own."""
        if pad_to is None or self.settings.train.batching == "fixed":
            return pad_to
        return int(view.sequence_lengths(rows).max())
