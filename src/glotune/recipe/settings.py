"""What the engine reads of a recipe, whatever its task: how to train, not what is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from glotune.recipe import schema


@dataclass(frozen=True)
class TrainingSettings:
    """Each recipe makes its own; nothing in it says what the texts' targets are or what a good score is."""

    seed: int
    max_length: int
    sampling_alpha: float | None
    optimizer: schema.Optimizer
    schedule: schema.Schedule
    train: schema.Train
    speed: schema.Speed
    checkpoints: schema.Checkpoints
    evaluate_every: Literal["epoch"] | int
    """``epoch``, or a number of steps."""
    patience: int | None
    """Evaluations without a better value before training stops early; None: never."""
    test: Literal["never", "last", "each"]
    """When the test texts are looked at while training."""
    average: schema.Average | None = None
    """Whether the run ends with a mean of several weights; None: with those of its best evaluation."""
    adversarial: schema.Adversarial | None = None
    """How word embeddings are moved in training; None: not at all."""


class TokenSettings(Protocol):
    """What tokenization reads of a recipe's data."""

    @property
    def max_length(self) -> int:
        """Tokens kept of a text, special tokens included."""
        ...

    @property
    def truncation(self) -> Literal["head", "head_tail"]:
        """Which part of a longer text is kept."""
        ...

    @property
    def windows(self) -> schema.Windows | None:
        """How a longer text is read in several pieces; None: it is not."""
        ...

    @property
    def normalization(self) -> Literal["NFC", "NFKC", "none"]:
        """Unicode normal form of the texts."""
        ...
