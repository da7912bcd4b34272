"""Has training got anywhere yet? A run of a few steps is no evidence about what its recipe can do.

A model that states the same probability for every class has the loss ln C, whatever the class weights
or the label smoothing. Fine-tuning starts there, and a classifier that has learned anything ends below.
"""

from __future__ import annotations

import math

import numpy as np

from glotune.evidence.trend import FEW_STEPS, TrainingHistory

GUESSING = 0.02
"""A training loss within 2 % of ln C is that of guessing."""
LITTLE = 0.1
"""One within 10 % shows little learning: too little after few steps, or where the scores are those of chance."""
FALLING = 0.02
"""With few steps: the mean loss of the second half is at least so much below that of the first."""


def hardly_begun(history: TrainingHistory, num_labels: int) -> str | None:
    """The sentence that shows a run of too few steps whose training loss still falls, or has not begun to."""
    losses = np.asarray(history.step_losses, dtype=np.float64)
    if not 0 < len(losses) < FEW_STEPS:
        return None
    made = f"Training made only {len(losses)} optimizer step{'s' if len(losses) > 1 else ''}"
    if len(losses) == 1:
        return f"{made}, with the loss {losses[0]:.4f} before it{_guessing(num_labels)}."
    first, second = losses[: len(losses) // 2].mean(), losses[len(losses) // 2 :].mean()
    if second > (1.0 - LITTLE) * math.log(num_labels):
        return f"{made}, and its loss was {second:.4f} in the second half of them{_guessing(num_labels)}."
    if second > (1.0 - FALLING) * first:
        return None
    return f"{made}, and its loss was still falling: {first:.4f} in the first half of them, {second:.4f} in the second."


def not_learned(history: TrainingHistory, num_labels: int, *, at_chance: bool = False) -> str | None:
    """The sentence that shows a training loss that stayed at that of guessing; None for a run of few steps.

    Args:
        history: the course of the run.
        num_labels: C.
        at_chance: no language that decides is shown to be answered better than by chance; a loss somewhat below
            that of guessing then proves nothing either.
    """
    losses = np.asarray(history.step_losses, dtype=np.float64)
    if len(losses) < FEW_STEPS:
        return None
    late = float(losses[len(losses) // 2 :].mean())
    if late <= (1.0 - (LITTLE if at_chance else GUESSING)) * math.log(num_labels):
        return None
    return (
        f"The training loss was {late:.4f} over the second half of {len(losses)} steps{_guessing(num_labels)}: "
        "little was learned."
    )


def _guessing(num_labels: int) -> str:
    return f", against ln {num_labels} = {math.log(num_labels):.4f} for guessing"
