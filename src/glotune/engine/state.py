"""Where training stands: all that a step or an evaluation changes beside weights and moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class EpochSums:
    """What the steps of the running epoch add up to, with dropout on."""

    loss_sum: float = 0.0
    """Sum over steps of loss times texts."""
    texts: int = 0
    tokens: int = 0
    sums: list[float] = field(default_factory=list)
    """The task's own, see `glotune.tasks.task.Part`."""

    def add(self, loss: float, texts: int, tokens: int, sums: Sequence[float]) -> None:
        """Adds one step."""
        self.loss_sum += loss * texts
        self.texts += texts
        self.tokens += tokens
        self.sums = [a + b for a, b in zip(self.sums or [0.0] * len(sums), sums, strict=True)]

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> EpochSums:
        """Of this version, or of one that knew confusion counts alone."""
        known = dict(content)
        if "confusion" in known:
            known["sums"] = [float(count) for row in known.pop("confusion") for count in row]
        return cls(**known)


@dataclass
class TrainingState:
    """Position, best so far and early stopping. A function of (recipe, seed, plan, data) at each step."""

    step: int = 0
    """Optimizer steps done."""
    epoch: float = 0.0
    epoch_sums: EpochSums = field(default_factory=EpochSums)
    best_step: int | None = None
    best_value: float | None = None
    averaged: list[int] = field(default_factory=list)
    """Steps of the evaluations whose weights are kept for a mean, the last one last."""
    evaluations_without_gain: int = 0
    stopped_early: bool = False
    one_class_since: int | None = None
    """Step of the first of the evaluations, up to the last one, that all found one class answered and nothing learned;
    None where the last one did not."""
    collapse_announced: bool = False
    evaluation_due: bool = False
    """The step is done, its evaluation is not: the run was asked to stop in between."""
    token_budget: int = 0
    loss_scale: float | None = None
    """In fp16, see `glotune.engine.optimizer.LossScale`; None in other precisions."""
    good_steps: int = 0
    """Since the scale last changed."""

    def to_json(self) -> dict[str, Any]:
        """Plain data; floats survive JSON bit for bit."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> TrainingState:
        """The inverse of `to_json`."""
        known = dict(content)
        sums = known.pop("epoch_figures" if "epoch_figures" in known else "epoch_sums")
        return cls(**known, epoch_sums=EpochSums.from_json(sums))

    def enter(self, value: float, higher_is_better: bool, patience: int | None) -> bool:
        """Enters an evaluation's value; returns whether it is the best so far. A NaN never is."""
        sign = 1.0 if higher_is_better else -1.0
        if (self.best_value is None or sign * value > sign * self.best_value) and value == value:
            self.best_step, self.best_value, self.evaluations_without_gain = self.step, value, 0
            return True
        self.evaluations_without_gain += 1
        self.stopped_early = patience is not None and self.evaluations_without_gain >= patience
        return False
