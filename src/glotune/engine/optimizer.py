"""AdamW over groups: what decays, what doesn't, and how fast each layer learns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from glotune.recipe import schema


@dataclass(frozen=True)
class NamedParameter:
    """A trainable parameter with its place in the network."""

    name: str
    tensor: nn.Parameter
    depth: int | None
    """0 for embeddings, 1 to L for the layers, None for the head."""


def parameter_groups(
    parameters: Iterable[NamedParameter], spec: schema.Optimizer, num_layers: int, embedding_name: str | None
) -> list[dict[str, Any]]:
    """AdamW's groups, each with ``names`` beside ``params`` and its own ``base_learning_rate``.

    Layer-wise decay: layer l of L learns at ``rate * layer_decay ** (L + 1 - l)``, embeddings as layer 0, the head
    at ``head_learning_rate`` or the full rate (Howard & Ruder 2018; Clark et al. 2020, ELECTRA).
    No decay on biases and norms (one-dimensional tensors), nor here on the word embeddings: `RowDecay` does that.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for parameter in parameters:
        rate = _rate(parameter.depth, spec, num_layers)
        decays = parameter.tensor.ndim > 1 and parameter.name != embedding_name
        decay = spec.weight_decay if decays else 0.0
        group = groups.setdefault(
            (rate, decay), {"params": [], "names": [], "lr": rate, "base_learning_rate": rate, "weight_decay": decay}
        )
        group["params"].append(parameter.tensor)
        group["names"].append(parameter.name)
    return list(groups.values())


def _rate(depth: int | None, spec: schema.Optimizer, num_layers: int) -> float:
    if depth is None:
        return spec.learning_rate if spec.head_learning_rate is None else spec.head_learning_rate
    if spec.layer_decay is None:
        return spec.learning_rate
    return float(spec.learning_rate * spec.layer_decay ** (num_layers + 1 - depth))


def build_optimizer(groups: list[dict[str, Any]], spec: schema.Optimizer) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101)."""
    return torch.optim.AdamW(groups, lr=spec.learning_rate, betas=spec.betas, eps=spec.epsilon, fused=True)


@dataclass(frozen=True)
class RowDecay:
    """Decoupled weight decay for the embedding rows that training sees, and for no other row (contract C4).

    AdamW on a full matrix decays every row in every step, also rows no text ever touches (fact 17). Rows outside
    the training texts get a zero gradient, hence a zero Adam update; without decay they stay bit-equal to the source.
    """

    weight: nn.Parameter
    """[V, H]"""
    seen: Tensor
    """[V] bool"""
    weight_decay: float
    base_learning_rate: float

    @torch.no_grad()
    def apply(self, factor: float) -> None:
        """Multiplies the seen rows by ``1 - rate * weight_decay``, as AdamW does before its update.

        `factor` is the schedule's; the rate is ``base_learning_rate * factor``.
        """
        if self.weight_decay == 0.0:
            return
        kept = 1.0 - self.base_learning_rate * factor * self.weight_decay
        self.weight.mul_(torch.where(self.seen, kept, 1.0).unsqueeze(1).to(self.weight.dtype))
