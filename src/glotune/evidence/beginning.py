"""Has training got anywhere yet? A run of a few steps is no evidence about what its recipe can do.

A model that states the same probability for every class has the loss ln C, whatever the class weights
or the label smoothing. Fine-tuning starts there, and a classifier that has learned anything ends below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from glotune.evidence.trend import FEW_STEPS, TrainingHistory

GUESSING = 0.02
"""A training loss within 2 % of ln C is that of guessing."""
LITTLE = 0.1
"""One within 10 % shows little learning: too little after few steps; and where the scores are those of chance, one
within 10 % of that of knowing only how frequent each label is (less than ln C on unbalanced texts)."""
FALLING = 0.02
"""With few steps: the least drop of the mean loss from the first half to the second."""


@dataclass(frozen=True)
class Guessing:
    """The training loss of a model that knows nothing of a text, and how it is said."""

    loss: float
    words: str

    @classmethod
    def among(cls, num_labels: int, focus: float = 1.0) -> Guessing:
        """The same probability for each of C classes; of several labels, for yes and no, times that of a focal loss."""
        loss, times = focus * math.log(num_labels), "" if focus == 1.0 else f"{focus:.3g} "
        return cls(loss, f"{times}ln {num_labels} = {loss:.4f} for guessing")

    @property
    def compared(self) -> str:
        """``, against ln 3 = 1.0986 for guessing``."""
        return f", against {self.words}"


def hardly_begun(history: TrainingHistory, guessing: Guessing) -> str | None:
    """The sentence that shows a run of too few steps whose training loss still falls, or has not begun to."""
    losses = np.asarray(history.step_losses, dtype=np.float64)
    if not 0 < len(losses) < FEW_STEPS:
        return None
    made = f"Training made only {len(losses)} optimizer step{'s' if len(losses) > 1 else ''}"
    if len(losses) == 1:
        return f"{made}, with the loss {losses[0]:.4f} before it{guessing.compared}."
    first, second = losses[: len(losses) // 2].mean(), losses[len(losses) // 2 :].mean()
    if second > (1.0 - LITTLE) * guessing.loss:
        return f"{made}, and its loss was {second:.4f} in the second half of them{guessing.compared}."
    if second > (1.0 - FALLING) * first:
        return None
    return f"{made}, and its loss was still falling: {first:.4f} in the first half of them, {second:.4f} in the second."


def not_learned(history: TrainingHistory, guessing: Guessing, *, chance_loss: float | None = None) -> str | None:
    """The sentence that shows a training loss that stayed at that of guessing; None for a run of few steps.

    Args:
        history: the course of the run.
        guessing: the loss of knowing nothing.
        chance_loss: where the run is not shown to be better than chance, the loss of knowing only how frequent each
            label is; a loss somewhat below it then proves nothing either.
    """
    losses = np.asarray(history.step_losses, dtype=np.float64)
    if len(losses) < FEW_STEPS:
        return None
    late = float(losses[len(losses) // 2 :].mean())
    made = f"The training loss was {late:.4f} over the second half of {len(losses)} steps"
    if late > (1.0 - GUESSING) * guessing.loss:
        return f"{made}{guessing.compared}: little was learned."
    if chance_loss is not None and late > (1.0 - LITTLE) * chance_loss:
        return f"{made}, against {chance_loss:.4f} for knowing only how frequent each label is: little was learned."
    return None


def learned_by_heart(history: TrainingHistory) -> str:
    """What a training loss that fell says of a run without skill on other texts: nothing in its favour."""
    losses = np.asarray(history.step_losses, dtype=np.float64)
    late = losses[len(losses) // 2 :].mean()
    return (
        f"The training loss was {late:.4f} over the second half of {len(losses)} steps, below that of guessing: what "
        "was learned of the training texts does not carry over to these."
    )
