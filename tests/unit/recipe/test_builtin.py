"""Every shipped recipe: validated, headed by its exact command, and what the issue of each knob says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from glotune.errors import UserError
from glotune.recipe import Recipe, builtin_recipes, load_recipe

OWN_DATA = {"quickstart"}
"""Recipes that bring their data; the others' texts are the user's."""
TRAIN_RECIPES = sorted(builtin_recipes())


def header(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]


def commands(path: Path) -> list[list[str]]:
    found = (re.match(r"#   (glotune train .*)", line) for line in header(path))
    return [shlex.split(match[1], comments=True) for match in found if match]


@pytest.mark.parametrize("name", TRAIN_RECIPES)
def test_the_header_holds_the_exact_command(name: str) -> None:
    path = builtin_recipes()[name]
    assert header(path)[0].startswith(f"# {name}: ")
    assert commands(path), "no command in the header"
    for _, _, recipe, *overrides in commands(path):
        assert recipe == name
        assert isinstance(load_recipe(recipe, overrides), Recipe)
    assert load_recipe(name, ["data.train=x.csv"]).name == name
    assert load_recipe(name, ["data.train=x.csv"]).description


@pytest.mark.parametrize("name", sorted(set(TRAIN_RECIPES) - OWN_DATA))
def test_a_recipe_without_the_users_data_says_how_to_give_it(name: str) -> None:
    with pytest.raises(UserError, match=re.escape("data.train: missing; give it as data.train=FILE")):
        load_recipe(name)


EXPECTED: dict[str, dict[str, Any]] = {
    "xlmr-6-layers": {
        "model.name": "FacebookAI/xlm-roberta-base",
        "model.layers": 6,
        "model.freeze.embeddings": True,
        "model.freeze.layers": 0,
        "optimizer.learning_rate": 2e-4,
        "schedule.name": "cosine",
        "schedule.minimum_learning_rate": 2e-5,
        "train.epochs": 10,
        "train.batch_size": 512,
        "data.max_length": 128,
        "data.source_languages": ["en"],
        "evaluate.on": "source",
    },
    "mbert-6-layers-frozen": {
        "model.name": "google-bert/bert-base-multilingual-uncased",
        "model.layers": 6,
        "model.freeze.embeddings": True,
        "model.freeze.layers": 4,
        "optimizer.learning_rate": 5e-5,
        "schedule.minimum_learning_rate": 5e-6,
        "train.batch_size": 1024,
        "data.fraction": 0.5,
    },
    "bangla-lora": {
        "model.lora.rank": 32,
        "model.lora.alpha": 64,
        "model.lora.dropout": 0.1,
        "model.lora.target_modules": ["query", "key", "value", "dense"],
        "optimizer.learning_rate": 5e-5,
        "train.batch_size": 64,
        "train.epochs": 10,
    },
    "bangla-full": {"model.lora": None, "train.batch_size": 64, "train.epochs": 10},
    "humor-v2": {
        "model.name": "FacebookAI/xlm-roberta-large",
        "loss.class_weights": "balanced",
        "schedule.name": "cosine",
        "optimizer.learning_rate": 2e-5,
        "evaluate.metric": "macro_f1",
    },
    "humor-v3": {
        "model.name": "FacebookAI/xlm-roberta-large",
        "optimizer.layer_decay": 0.95,
        "loss.label_smoothing": 0.1,
        "train.batch_size": 32,
        "schedule.warmup_ratio": 0.1,
        "schedule.name": "cosine",
        "loss.class_weights": "balanced",
        "train.epochs": 50,
        "evaluate.patience": 5,
        "evaluate.metric": "macro_f1",
    },
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_knobs_are_as_published(name: str) -> None:
    recipe = load_recipe(name, ["data.train=x.csv"]).model_dump()
    for key, expected in EXPECTED[name].items():
        value: Any = recipe
        for part in key.split("."):
            value = value[part]
        assert value == expected, key
