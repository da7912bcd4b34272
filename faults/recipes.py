"""Runs of a second or two over made texts and a random encoder, one for each kind of state that a crash can hurt."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

from glotune.recipe import Recipe, load_recipe

KINDS: dict[str, dict[str, Any]] = {
    "full": {"speed.trim_vocabulary": False},
    "lora": {"model.lora": {"rank": 4, "alpha": 8, "dropout": 0.1, "target_modules": ["query", "value", "dense"]}},
    "trimmed": {},
    "prefix cache": {"model.freeze": {"embeddings": True, "layers": 1}},
}
"""Kind -> what its recipe changes."""

WORDS = {"good": "good lovely great nice", "bad": "bad dirty rude slow", "plain": "room food staff story"}


def make_recipe(folder: Path, kind: str, encoder: Path) -> Recipe:
    """A recipe of one kind, its data files written under `folder`."""
    data = {
        "train": {"en": _write(folder / "train.csv", 48, 0)},
        "validation": {"en": _write(folder / "dev.csv", 18, 1)},
        "test": {"es": _write(folder / "test.csv", 24, 2)},
        "max_length": 24,
    }
    base: dict[str, Any] = {
        "name": "fault",
        "model": {"name": str(encoder), "layers": 2},
        "data": data,
        "optimizer": {"learning_rate": 1e-3},
        "train": {"epochs": 3, "batch_size": 8, "precision": "fp32", "device": "cpu"},
        "evaluate": {"every": 4},
        "checkpoints": {"every": 3, "keep": 2},
    }
    return load_recipe(Recipe.model_validate(base), KINDS[kind])


def _write(path: Path, rows: int, seed: int) -> str:
    generator = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(rows):
            label = list(WORDS)[number % len(WORDS)]
            words = generator.choices(WORDS[label].split(), k=generator.choice([2, 3, 8]))
            writer.writerow([" ".join(words) + f" {number}", label])
    return str(path)
