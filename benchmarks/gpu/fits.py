"""What fits on which card: computed by the probe's model from shapes alone, without weights and without a card."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only

from benchmarks.gpu.texts import SHAPES, Shape, made_texts, model_of
from glotune.data.batches import PackedBatch, collate
from glotune.engine.plan import Need, fit_budget
from glotune.engine.probe import LiveBytes
from glotune.model.card import Card
from glotune.model.network import Network
from glotune.model.packed.kernels import Kernels
from glotune.model.surgery.freezing import freeze
from glotune.recipe.schema import Freeze

GPU = 2**30
CARDS = {"T4, 16 GB": Card("cuda", "T4", (7, 5), 15 * GPU), "RTX 3060, 12 GB": Card("cuda", "", (8, 6), 12 * GPU),
         "RTX 4090, 24 GB": Card("cuda", "", (8, 9), 24 * GPU), "A100, 40 GB": Card("cuda", "", (8, 0), 40 * GPU),
         "A100 or H100, 80 GB": Card("cuda", "", (8, 0), 80 * GPU)}  # fmt: skip
TAKEN = GPU // 2
"""By CUDA itself, and its libraries."""
TEXTS = ((8, 32), (32, 32))
"""(texts, tokens of each) of the two micro-batches that the line through memory is drawn by."""
WANTED = 65_536


@dataclass(frozen=True)
class Way:
    """One way to train."""

    name: str
    trimmed: bool = True
    frozen: bool = False
    recomputes: bool = False


WAYS = (
    Way("all weights"),
    Way("all weights, `train.checkpoint_activations`", recomputes=True),
    Way("all weights, `speed.trim_vocabulary: false`", trimmed=False),
    Way("the upper half of the layers", frozen=True),
)


@contextmanager
def _variable_length() -> Iterator[None]:
    """Counts attention as a card computes it, wherever the shapes lie."""
    plain = Kernels.of
    Kernels.of = lambda self, query, window, dropout=0.0: "flash"  # type: ignore[method-assign]
    try:
        yield
    finally:
        Kernels.of = plain  # type: ignore[method-assign]


def need_of(shape: Shape, way: Way) -> tuple[Need, int]:
    """(what training holds, bytes of the weights), bf16 over fp32 masters, dropout 0.1."""
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, _variable_length():
        hf: Any = model_of(shape, 0.1, torch.device("cpu"), trimmed=way.trimmed)
        if way.frozen:
            freeze(hf, Freeze(embeddings=True, layers=shape.layers // 2))
        # The last layer in full, and torch's own dropout: the savings of a CPU are none of a card.
        network = Network(hf, pooled_last_layer=False).train()
        if way.recomputes:
            network.checkpoint_activations()
        trained = [value for value in network.parameters() if value.requires_grad]
        peaks = [
            (texts * length, _peak(network, trained, _batch(shape, texts, length, fake))) for texts, length in TEXTS
        ]
    (few, low), (many, high) = peaks
    per_token = (high - low) / (many - few)
    sizes = [value.numel() * value.element_size() for value in trained]
    weights = sum(value.numel() * value.element_size() for value in network.parameters())
    return Need(3 * sum(sizes) + max(sizes), max(0, int(low - per_token * few)), per_token), weights


def _batch(shape: Shape, texts: int, length: int, fake: FakeTensorMode) -> PackedBatch:
    store = made_texts(shape, texts)
    store = type(store)(**{**vars(store), "tokens": np.full(texts * length, 5, np.int32),
                           "offsets": np.arange(texts + 1, dtype=np.int64) * length})  # fmt: skip
    batch = collate(store, np.arange(texts))
    made: Any = tree_map_only(torch.Tensor, fake.from_tensor, {**vars(batch), "targets": {}})
    return PackedBatch(**made)


def _peak(network: Network, trained: list[Any], batch: PackedBatch) -> int:
    lowest = trained[1]  # the position embeddings, or a bias of the lowest trained layer
    with LiveBytes([*network.parameters(), *network.buffers(), *batch.tensors()]) as live:
        with torch.autocast("cpu", torch.bfloat16):
            loss = network(batch).float().logsumexp(dim=1).sum()
        torch.autograd.grad(loss, [lowest], allow_unused=True)
    return live.peak


def table() -> str:
    """Markdown: the tokens of the largest micro-batch that fits."""
    lines = [f"| encoder | trained | weights, gradients, moments | {' | '.join(CARDS)} |",
             f"| --- | --- | ---: | {' | '.join('---:' for _ in CARDS)} |"]  # fmt: skip
    for shape in SHAPES:
        for way in WAYS:
            need, weights = need_of(shape, way)
            cells = [_tokens(need, card.memory - TAKEN - weights) for card in CARDS.values()]
            held = (weights + need.held) / GPU
            lines.append(f"| {shape.name} | {way.name} | {held:.1f} GiB | {' | '.join(cells)} |")
    return "\n".join(lines)


def _tokens(need: Need, free: int) -> str:
    tokens, why = fit_budget(WANTED, need, free)
    return "too small" if why is not None and "may not fit" in why else f"{tokens:,}"
