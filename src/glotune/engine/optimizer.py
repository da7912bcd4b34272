"""AdamW over groups: what decays, what doesn't, how fast each layer learns, and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

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
    """AdamW, fused where the device has it (Loshchilov & Hutter 2019, arXiv:1711.05101)."""
    has_fused = all(value.device.type != "tpu" for group in groups for value in group["params"])
    return torch.optim.AdamW(groups, lr=spec.learning_rate, betas=spec.betas, eps=spec.epsilon, fused=has_fused)


@torch.no_grad()
def allocate_moments(optimizer: torch.optim.AdamW) -> None:
    """Makes AdamW's state of every parameter that has none, as its first step would.

    Before the first step, so that what runs out of memory in a step is never the update, half of it done.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not optimizer.state[parameter]:
                optimizer.state[parameter] = {
                    "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                    "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                }


@dataclass
class LossScale:
    """What the loss is multiplied by in fp16, so that small gradients don't vanish (Micikevicius et al. 2018,
    arXiv:1710.03740, section 3.2).

    Halved where gradients overflow, doubled after `PATIENCE` steps in which none did. A skipped step is the price of
    finding the scale, no fault of the training.
    """

    factor: float = 2.0**16
    good_steps: int = 0
    """Since the last change."""

    PATIENCE: ClassVar[int] = 2000

    def divide(self, parameters: Iterable[nn.Parameter]) -> None:
        """Takes the scale out of the gradients, on their device."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        torch._foreach_mul_(gradients, 1.0 / self.factor)

    def overflows(self, loss: float, norm: float) -> bool:
        """Whether the step's gradients overflowed, by their scale and not by their own fault; adapts the scale."""
        if math.isfinite(norm):
            self.good_steps += 1
            if self.good_steps == self.PATIENCE:
                self.factor, self.good_steps = self.factor * 2.0, 0
            return False
        if not math.isfinite(loss) or self.factor <= 1.0:
            return False
        self.factor, self.good_steps = self.factor / 2.0, 0
        return True


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
