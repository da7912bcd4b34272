"""Made translation pairs in three invented languages: word for word, so that a tiny encoder can learn them."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glotune.recipe.pretrain import PretrainRecipe

STEMS = [first + second for first in "bdfgklmn" for second in ("a", "e", "i", "o", "u")]
ENDINGS = {"aa": "nu", "bb": "ska", "en": ""}


def pairs(language: str, count: int, seed: int = 0) -> list[dict[str, str]]:
    """Rows of language, text, english: the same stems with the language's ending."""
    generator = random.Random(f"{language}{seed}")
    rows = []
    for _ in range(count):
        words = generator.choices(STEMS, k=generator.choice([2, 3, 4, 6]))
        text = " ".join(word + ENDINGS[language] for word in words)
        rows.append({"language": language, "text": text, "english": " ".join(words)})
    return rows


def write(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """A CSV file with the keys of the rows as header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def pair_file(folder: Path, count: int = 120) -> Path:
    """Pairs of two languages with English."""
    return write(folder / "pairs.csv", [*pairs("aa", count), *pairs("bb", count)])


def scratch_recipe(folder: Path, **changes: Any) -> PretrainRecipe:
    """A recipe over made pairs that makes a two-layer encoder in seconds; `changes` are sections merged over it."""
    content: dict[str, Any] = {
        "name": "made",
        "model": {
            "scratch": {
                "layers": 2,
                "hidden_size": 32,
                "heads": 2,
                "intermediate_size": 64,
                "max_length": 32,
                "vocabulary": 60,
            },
            "dropout": 0.0,
        },
        "data": {"pairs": str(pair_file(folder)), "max_length": 32, "held_out": {"pairs": 10}},
        "objective": {"masked_lm": 0.3},
        "optimizer": {"learning_rate": 5e-3},
        "train": {"epochs": 2, "batch_size": 32, "precision": "fp32", "device": "cpu"},
    }
    for section, values in changes.items():
        before = content.setdefault(section, {})
        content[section] = {**before, **values} if isinstance(values, dict) else values
    return PretrainRecipe.model_validate(content)
