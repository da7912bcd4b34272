"""Several labels: BRIGHTER's emotions, each language from its own rows, and languages that no row was seen of."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.tasks.parts import Part, World
from benchmarks.tasks.published import CROSS_LINGUAL, MONOLINGUAL

EMOTIONS = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
NOT_ANNOTATED = {"afr": "surprise", "eng": "disgust"}
METRICS = ("macro_f1", "micro_f1", "average_precision")
SETTINGS: dict[str, dict[str, Any]] = {
    "4 of 12 layers": {"frozen": 8},
    "2 of 12 layers": {"frozen": 10},
}
"""What was tried: how many of the twelve layers are trained."""
TRIED_ON = "ptmz"
EPOCHS = 4
ROWS, MORE_ROWS, HARD = 1000, 2000, 50.0
"""Training rows of a language, at most, stratified by its labels: what one core learns from in minutes. More where the
published XLM-R scores above 50."""
CHOSEN = SETTINGS["2 of 12 layers"]
RELATED = (
    "afr", "deu", "swe", "eng", "pcm", "esp", "ptbr", "ptmz", "rus", "ukr", "mar", "arq", "ary", "hau", "ibo", "kin",
    "yor", "chn", "sun",
)  # fmt: skip
"""Relatives beside each other, so that taking every third into a fold leaves most of them one to learn from."""
FOLDS = 3
ROWS_OF_EACH, VALIDATION_ROWS_OF_EACH, EPOCHS_ACROSS = 200, 60, 3


def recipe(
    world: World, train: Mapping[str, str], test: Mapping[str, str] | None, labels: list[str], epochs: int,
    frozen: int, **data: Any,
) -> dict[str, Any]:  # fmt: skip
    """BRIGHTER's emotions from the encoder's twelve layers."""
    return {
        "name": "emotions",
        "task": "multi_label",
        "model": {
            "name": str(world.encoder), "pooling": "mean", "freeze": {"embeddings": True, "layers": frozen},
        },
        "data": {"train": dict(train), "test": test, "columns": {"labels": labels}, "max_length": 64, **data},
        "loss": {"pos_weight": "balanced"},
        "optimizer": {"learning_rate": 3e-4, "head_learning_rate": 2e-3},
        "schedule": {"warmup_ratio": 0.1},
        "train": {"epochs": epochs, "precision": "fp32", "device": "cpu"},
        "checkpoints": {"keep": 1},
    }  # fmt: skip


def emotion_file(world: World, language: str) -> str:
    """The language's file; English test rows, whose labels the task's first track keeps to itself, get those of the
    second, intensities above 0 (of the training rows 2,759 of 2,763 agree so)."""
    path = world.file("brighter_emotions", language)
    return path if language != "eng" else with_labels_of_intensities(world, path)


def with_labels_of_intensities(world: World, path: str) -> str:
    """A copy of the English file in the work folder, its blank test labels filled."""
    strengths = {row["text"]: row for row in rows_of(world.file("brighter_intensity", "eng"))}
    rows = rows_of(path)
    for row in rows:
        if row["split"] == "test":
            found = strengths[row["text"]]
            row.update({name: found[name] and str(int(int(found[name]) > 0)) for name in EMOTIONS})
    return write_rows(world.work / "data" / "eng.csv", rows)


def rows_of(path: str) -> list[dict[str, str]]:
    """The rows of a CSV file, gzipped or not."""
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, str]]) -> str:
    """A CSV file with these rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def labels_of(language: str) -> list[str]:
    """The emotions that the language is annotated with."""
    return [name for name in EMOTIONS if NOT_ANNOTATED.get(language) != name]


def monolingual(language: str, world: World) -> dict[str, Any]:
    """One language from its own rows."""
    train = {language: emotion_file(world, language)}
    rows = MORE_ROWS if MONOLINGUAL[language][1] > HARD else ROWS
    return recipe(world, train, None, labels_of(language), EPOCHS, train_rows=rows, **CHOSEN)


def across(fold: int, world: World) -> dict[str, Any]:
    """Every third language held out, some rows of each of the others."""
    train = {name: few_rows(world, name) for name in RELATED if RELATED.index(name) % FOLDS != fold}
    test = {name: emotion_file(world, name) for name in RELATED[fold::FOLDS]}
    return recipe(world, train, test, list(EMOTIONS), EPOCHS_ACROSS, **CHOSEN)


def few_rows(world: World, language: str) -> str:
    """The first rows of a language's training and validation split, in a file of the work folder."""
    rows = rows_of(emotion_file(world, language))
    train = [row for row in rows if row["split"] == "train"][:ROWS_OF_EACH]
    validation = [row for row in rows if row["split"] == "dev"][:VALIDATION_ROWS_OF_EACH]
    return write_rows(world.work / "data" / f"{language}-{ROWS_OF_EACH}.csv", [*train, *validation])


def tried(name: str, world: World) -> dict[str, Any]:
    """One of the settings on the language that they were tried on, whose test texts it doesn't see."""
    rows = [row for row in rows_of(world.file("brighter_emotions", TRIED_ON)) if row["split"] != "test"]
    file = write_rows(world.work / "data" / f"{TRIED_ON}-without-test.csv", rows)
    return recipe(world, {TRIED_ON: file}, None, labels_of(TRIED_ON), EPOCHS, **SETTINGS[name])


PARTS = (
    *(Part(f"settings/{name}", partial(tried, name), METRICS) for name in SETTINGS),
    *(Part(f"monolingual/{name}", partial(monolingual, name), METRICS) for name in MONOLINGUAL),
    *(Part(f"cross-lingual/{fold + 1}", partial(across, fold), METRICS) for fold in range(FOLDS)),
)
assert set(RELATED) == set(MONOLINGUAL) == set(CROSS_LINGUAL)
