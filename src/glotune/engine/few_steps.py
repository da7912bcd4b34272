"""A warning before training that would hardly train: optimizer steps are counted before the first is made."""

from __future__ import annotations

import math

from glotune.evidence.trend import FEW_STEPS

BATCH_SIZES = (256, 128, 64, 32, 16, 8)
"""What is proposed instead: the largest that gives `ENOUGH` steps, or the smallest that helps at all."""
ENOUGH = 100
"""Steps after which a fine-tune has left its warmup behind."""


def few_steps(texts: int, batch_size: int, epochs: int) -> str | None:
    """The warning about one step per epoch, or fewer than `FEW_STEPS` in all; None where there are enough.

    Args:
        texts: training texts.
        batch_size: texts in one optimizer step.
        epochs: passes over them.
    """
    per_epoch = math.ceil(texts / batch_size)
    total = per_epoch * epochs
    if per_epoch > 1 and total >= FEW_STEPS:
        return None
    taken = f"train.batch_size={batch_size} takes " + ("all " if per_epoch == 1 else "so many of the ")
    many = "1 optimizer step" if per_epoch == 1 else f"{per_epoch} optimizer steps"
    return (
        f"{many} per epoch, {total} in all ({taken}{texts} training texts{' at once' if per_epoch == 1 else ''}): "
        f"the weights will hardly move, and the scores say little of the recipe. {_remedy(texts, batch_size, epochs)}"
    )


def _remedy(texts: int, batch_size: int, epochs: int) -> str:
    smaller = {size: math.ceil(texts / size) for size in BATCH_SIZES if size < batch_size}
    helpful = {size: steps for size, steps in smaller.items() if steps > 1 and steps * epochs >= FEW_STEPS}
    if helpful:
        size = next((size for size, steps in helpful.items() if steps * epochs >= ENOUGH), min(helpful))
        return f"Lower train.batch_size ({size} gives {helpful[size]} steps per epoch) or raise train.epochs."
    enough = math.ceil(ENOUGH / math.ceil(texts / batch_size))
    return f"Raise train.epochs ({enough} gives {ENOUGH} steps), or give more training texts."
