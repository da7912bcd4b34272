"""Packed batches of random token ids, and encoders loaded in evaluation mode, for tests of the model rooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from encoders import make_encoder
from glotune.data.batches import PackedBatch
from glotune.model.cpu.tune import tune
from glotune.model.loading import load_encoder
from glotune.model.network import Network
from glotune.recipe.schema import Model

LENGTHS = (1, 5, 60, 128, 2, 1, 33, 34, 35, 70, 5, 5)
"""Single-token texts, texts of the full 128 positions, equal and unequal lengths, not in order."""
LABELS = ("negative", "neutral", "positive")


def random_ids(lengths: Sequence[int] = LENGTHS, seed: int = 0, low: int = 5, high: int = 130) -> list[list[int]]:
    """One list of token ids per text, special tokens left out."""
    generator = np.random.default_rng(seed)
    return [generator.integers(low, high, length).tolist() for length in lengths]


def packed(texts: Sequence[Sequence[int]], *, pairs: bool = False, pad_to: int | None = None) -> PackedBatch:
    """The texts end to end; as pairs, the second half of each has token type 1."""
    lengths = [len(text) for text in texts]
    types = [[0] * (n - n // 2) + [1] * (n // 2) if pairs else [0] * n for n in lengths]
    return PackedBatch(
        input_ids=torch.tensor([index for text in texts for index in text]),
        position_ids=torch.cat([torch.arange(n) for n in lengths]),
        token_type_ids=torch.tensor([kind for text in types for kind in text]),
        cu_seqlens=torch.tensor(np.concatenate([[0], np.cumsum(lengths)]), dtype=torch.int32),
        lengths=tuple(lengths),
        rows=np.arange(len(texts)),
        pad_to=pad_to,
    )


def load(folder: Path, family: str, *, layers: int = 3, seed: int = 0, **config: Any) -> Any:
    """A tiny encoder of the family with a fresh head for `LABELS`, in evaluation mode."""
    make_encoder(folder, family, layers=layers, **config)
    return load_encoder(Model(name=str(folder)), LABELS, seed=seed, log=lambda line: None).eval()


def tuned(network: Network) -> Network:
    """The network as it trains in fp32 on a CPU: with the kernels that a run gives it."""
    tune(network, "cpu", "fp32", training=True)
    return network


def gradients(
    network: Network, batch: PackedBatch, hidden_TH: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the gradient of every parameter under a loss that every logit enters differently."""
    network.zero_grad(set_to_none=True)
    logits = network(replace(batch, hidden_TH=hidden_TH))
    (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    found = {name: value.grad.clone() for name, value in network.hf.named_parameters() if value.grad is not None}
    return logits.detach(), found


def largest_difference(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    """Largest difference of any gradient, relative to the larger of 1 and the largest gradient."""
    assert left.keys() == right.keys()
    scale = max(1.0, *(float(value.abs().max()) for value in right.values()))
    return max(float((left[name] - right[name]).abs().max()) for name in right) / scale
