"""Where training stands, beside the weights: all of it plain data, saved as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class EpochFigures:
    """Training figures of the running epoch, with dropout on."""

    loss_sum: float = 0.0
    """Sum over steps of loss times texts."""
    texts: int = 0
    tokens: int = 0
    confusion: list[list[int]] = field(default_factory=list)

    def add(self, loss: float, texts: int, tokens: int, confusion: NDArray[np.int64]) -> None:
        """Adds one step."""
        before = np.array(self.confusion, dtype=np.int64) if self.confusion else np.zeros_like(confusion)
        self.loss_sum += loss * texts
        self.texts += texts
        self.tokens += tokens
        self.confusion = (before + confusion).tolist()


@dataclass
class TrainingState:
    """Position, best so far and early stopping. A function of (recipe, seed, plan, data) at each step."""

    step: int = 0
    """Optimizer steps done."""
    epoch: float = 0.0
    epoch_figures: EpochFigures = field(default_factory=EpochFigures)
    best_step: int | None = None
    best_value: float | None = None
    evaluations_without_gain: int = 0
    stopped_early: bool = False
    one_class_since: int | None = None
    """Step of the first of the evaluations, up to the last one, that all found one class answered and nothing learned;
    None where the last one did not."""
    collapse_announced: bool = False
    evaluation_due: bool = False
    """The step is done, its evaluation is not: the run was asked to stop in between."""
    token_budget: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain data; floats survive JSON bit for bit."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> TrainingState:
        """The inverse of `to_json`."""
        figures = EpochFigures(**content["epoch_figures"])
        return cls(**{**content, "epoch_figures": figures})
