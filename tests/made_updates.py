"""Parts of small runs whose single updates are looked at: recipe, assembly, schedule, a batch as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from glotune.data.batches import PackedBatch, Rows
from glotune.data.reading import read_texts
from glotune.data.tokenization import tokenize
from glotune.engine.assembly import Assembled, assemble
from glotune.engine.observer import Silent
from glotune.engine.optimizer import Schedule
from glotune.engine.parts import Parts
from glotune.engine.processes import Processes
from glotune.engine.recorder import Recorder
from glotune.model.loading import load_tokenizer
from glotune.recipe import Recipe
from glotune.run.directory import RunDirectory
from glotune.run.records import Plan
from small_runs import small_recipe


def assembled(
    folder: Path, recipe: Recipe, token_budget: int, precision: Literal["fp32", "bf16"] = "fp32"
) -> Assembled:
    texts = read_texts(recipe.data, recipe.seed)
    tokenizer = load_tokenizer(recipe.model)
    stores = tokenize(texts, tokenizer, recipe.data, folder / "cache")
    plan = Plan(device="cpu", precision=precision, attention="packed_sdpa", token_budget=token_budget, threads=1)
    recorder = Recorder(RunDirectory(folder / "run"), Silent(), 1, is_main=False)
    return assemble(recipe, texts, stores, tokenizer, Processes.start("cpu"), recorder, plan)


def schedule_of(recipe: Recipe, rows: int) -> Schedule:
    steps = -(-rows // recipe.train.batch_size)
    return Schedule(recipe.schedule, recipe.optimizer.learning_rate, steps, recipe.train.epochs)


def whole_batch(parts: Parts, rows: Rows) -> PackedBatch:
    """These training texts as one micro-batch, with their targets."""
    return next(parts.micro_batches("train", rows, 10**6, parts.task.objective(0, rows).dress))


def recipe_for(folder: Path, family: str = "xlm-roberta", **overrides: Any) -> Recipe:
    """70 rows in batches of 32: the third of each epoch has 6; 20 steps need 7 epochs less one step: rows 150 x 4."""
    return small_recipe(
        folder,
        family,
        rows=150,
        train__epochs=4,
        train__batch_size=32,
        model__dropout=0.0,
        loss={"class_weights": "balanced", "label_smoothing": 0.1},
        **overrides,
    )
