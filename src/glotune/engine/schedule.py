"""The learning rate as a function of the step: no state, so nothing to save."""

from __future__ import annotations

import math
from dataclasses import dataclass

from glotune.recipe import schema


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
