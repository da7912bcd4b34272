"""The warning before a training of a few steps."""

import math

import pytest

from glotune.engine.fit import few_steps
from glotune.evidence.trend import FEW_STEPS


@pytest.mark.parametrize(
    ("texts", "batch_size", "epochs", "told"),
    [
        (
            300,
            512,
            6,
            "1 optimizer step per epoch, 6 in all (train.batch_size=512 takes all 300 training texts at once)",
        ),
        (300, 512, 40, "1 optimizer step per epoch, 40 in all"),
        (300, 64, 2, "5 optimizer steps per epoch, 10 in all (train.batch_size=64 takes so many of the 300 training"),
        (300, 512, 6, "Lower train.batch_size (16 gives 19 steps per epoch) or raise train.epochs."),
        (10, 8, 2, "Raise train.epochs (50 gives 100 steps), or give more training texts."),
    ],
)
def test_few_steps_are_told_with_what_to_change(texts: int, batch_size: int, epochs: int, told: str) -> None:
    assert told in (few_steps(texts, batch_size, epochs) or "")


def test_enough_steps_are_not_spoken_of() -> None:
    assert few_steps(1000, 32, 3) is None
    for texts in range(2, 400, 7):
        for epochs in (1, 3, 10):
            steps = math.ceil(texts / 16)
            assert (few_steps(texts, 16, epochs) is None) == (steps > 1 and steps * epochs >= FEW_STEPS)
