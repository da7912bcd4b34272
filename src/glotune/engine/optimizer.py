"""AdamW over groups: what decays, what doesn't, how fast each layer learns, and the learning rate of each step."""

from __future__ import annotations

import math
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

    AdamW on a full matrix decays every row in every step, also rows no text ever touches. Rows outside
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
        # Before the update and with the rate of this step, as torch's AdamW does: a seen row decays exactly as
        # it would there. An unseen row is multiplied by 1.0, which is exact in any floating-point type;
        # indexing the seen rows instead would copy them twice in every step.
        kept = 1.0 - self.base_learning_rate * factor * self.weight_decay
        self.weight.mul_(torch.where(self.seen, kept, 1.0).unsqueeze(1).to(self.weight.dtype))


@dataclass(frozen=True)
class Schedule:
    """Multiplies every group's learning rate; with warmup linear and per step."""

    spec: schema.Schedule
    learning_rate: float
    """The recipe's rate: ``minimum_learning_rate / learning_rate`` is the factor's floor for every group."""
    steps_per_epoch: int
    epochs: int

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    @property
    def warmup_steps(self) -> int:
        if self.spec.warmup_steps is not None:
            return self.spec.warmup_steps
        return math.ceil(self.spec.warmup_ratio * self.total_steps)

    def factor(self, step: int) -> float:
        """The factor for the update number `step` (from 0).

        After warmup, linear and cosine fall to the floor over the steps (``per: step``) or over the epochs
        (``per: epoch``: constant within each, as `torch.optim.lr_scheduler.CosineAnnealingLR` stepped once an
        epoch with ``T_max = epochs``; Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5).
        """
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        floor = self.spec.minimum_learning_rate / self.learning_rate
        progress = self._progress(step)
        match self.spec.name:
            case "constant":
                return 1.0
            case "linear":
                return floor + (1 - floor) * (1 - progress)
            case "cosine":
                return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    def _progress(self, step: int) -> float:
        if self.spec.per == "epoch":
            return (step // self.steps_per_epoch) / self.epochs
        return (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
