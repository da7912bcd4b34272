"""The rows of the table: what is measured, at which size, and what is promised of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Shape:
    """The encoder that every row shares: random weights of XLM-R's layout."""

    hidden: int = 768
    layers: int = 12
    heads: int = 12
    feed_forward: int = 3072
    vocabulary: int = 250_002
    """Rows of the embedding matrix."""
    pieces: int = 30_000
    """Tokens that the tokenizer learns from the texts: the rows that they touch."""


FULL = Shape()
SMALL = Shape(hidden=128, layers=12, heads=4, feed_forward=512, vocabulary=30_000, pieces=8_000)
"""For --quick: every part runs, no figure means anything for a real encoder."""
TINY = Shape(hidden=32, layers=3, heads=4, feed_forward=64, vocabulary=2_000, pieces=600)
"""For tests."""


@dataclass(frozen=True)
class TrainingRow:
    """One recipe's training, by three engines."""

    name: str
    title: str
    batch_size: int
    """Texts in one optimizer step, on every side."""
    per_device: tuple[int, ...]
    """Per-device batches that the best-practice Trainer tries."""
    layers: int | None = None
    """Encoder layers kept; None: all."""
    frozen_embeddings: bool = False
    frozen_layers: int = 0
    lora: dict[str, Any] | None = None
    epochs: int = 10
    """Of the recipe: what a filled cache is shared out over."""
    texts: int = 1024
    """Texts of the sample that is timed: a whole number of steps, and so many that the first of them, in which both
    sides' memory grows, does not stand for the rest."""
    fixed_texts: int = 192
    """Texts that are enough to time the authors' setting, where each text costs the same, behind the first of them."""
    learning_rate: float = 5e-5
    floors: tuple[float, float] = (0.0, 0.0)
    """Against the authors' setting and against best practice."""
    aims: tuple[float | None, float | None] = (None, None)
    measured_epochs: int = 1
    """Epochs over the sample that either side runs; with a cached prefix the first fill is measured apart."""

    @property
    def model(self) -> dict[str, Any]:
        """The recipe's section `model`, without its name."""
        section: dict[str, Any] = {}
        if self.layers is not None:
            section["layers"] = self.layers
        if self.frozen_embeddings:
            section["freeze"] = {"embeddings": True, "layers": self.frozen_layers}
        if self.lora is not None:
            section["lora"] = dict(self.lora)
        return section


LORA: dict[str, Any] = {
    "rank": 32,
    "alpha": 64,
    "dropout": 0.1,
    "target_modules": ["query", "key", "value", "dense"],
}

TRAINING = (
    TrainingRow(
        "mbert-6-layers-frozen",
        "`mbert-6-layers-frozen`, 10 epochs, cache filling included",
        batch_size=1024,
        per_device=(16, 32, 64, 128, 256, 512, 1024),
        layers=6,
        frozen_embeddings=True,
        frozen_layers=4,
        texts=4096,
        floors=(20.0, 2.7),
        aims=(30.0, 4.0),
        measured_epochs=2,
    ),
    TrainingRow(
        "xlmr-6-layers",
        "`xlmr-6-layers`",
        batch_size=512,
        per_device=(16, 32, 64, 128, 256, 512),
        layers=6,
        frozen_embeddings=True,
        texts=2560,
        learning_rate=2e-4,
        floors=(12.0, 1.2),
        aims=(None, 1.7),
    ),
    TrainingRow(
        "full-12-layers",
        "12 layers, all trained, effective batch 32",
        batch_size=32,
        per_device=(16, 32),
        texts=512,
        fixed_texts=96,
        learning_rate=2e-5,
        floors=(10.0, 1.3),
        aims=(None, 1.6),
    ),
    TrainingRow(
        "lora-r32",
        "LoRA r 32, all modules, effective batch 64",
        batch_size=64,
        per_device=(16, 32, 64),
        lora=LORA,
        texts=512,
        fixed_texts=128,
        floors=(10.0, 1.1),
        aims=(None, 1.5),
    ),
)


@dataclass(frozen=True)
class OtherRow:
    """A row that is no training speed."""

    name: str
    title: str
    against: str
    floor: float
    aim: float
    lower_is_better: bool = field(default=False)


OTHERS = (
    OtherRow(
        "memory",
        "peak memory of the whole process, 12 layers, batch 32",
        "best practice",
        0.5,
        0.4,
        lower_is_better=True,
    ),
    OtherRow("prediction", "prediction, fp32, distinct texts", "`transformers.pipeline`", 1.5, 2.5),
    OtherRow("tokenizing", "tokenizing 1,000,000 rows", "`datasets.map`", 1.0, 1.5),
    OtherRow("study", "a study of 6 learning rates over one frozen prefix", "six single runs, best practice", 2.5, 4.0),
)
NAMES = tuple(row.name for row in (*TRAINING, *OTHERS))


def training_row(name: str) -> TrainingRow:
    """The training row of that name; raises KeyError for another."""
    return {row.name: row for row in TRAINING}[name]
