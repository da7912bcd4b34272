"""Does glotune reach Trainer's accuracy with the same settings? Real texts, real weights, several seeds."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glotune.data.reading import read_texts
from glotune.data.texts import LabelledTexts, TextData
from glotune.recipe import Recipe, load_recipe

SETTINGS = {"learning_rate": 5e-5, "epochs": 2, "batch_size": 32, "weight_decay": 0.01, "max_length": 128}


@dataclass(frozen=True)
class Pair:
    """Dev accuracy of both sides with one seed."""

    seed: int
    glotune: float
    trainer: float


def recipe_for(data: Path, encoder: Path, rows: int, seed: int) -> Recipe:
    """SST-2: so many training rows, the dev split to validate."""
    file = str(data / "sst2" / "en.csv.gz")
    return load_recipe(
        Recipe.model_validate(
            {
                "name": "sst2",
                "model": {"name": str(encoder)},
                "data": {
                    "train": {"en": file},
                    "validation": {"en": file},
                    "train_rows": rows,
                    "max_length": SETTINGS["max_length"],
                },
                "optimizer": {"learning_rate": SETTINGS["learning_rate"], "weight_decay": SETTINGS["weight_decay"]},
                "schedule": {"name": "linear"},
                "train": {
                    "epochs": SETTINGS["epochs"],
                    "batch_size": SETTINGS["batch_size"],
                    "precision": "fp32",
                    "device": "cpu",
                },
                "evaluate": {"metric": "accuracy"},
                "seed": seed,
            }
        )
    )


def glotune_accuracy(recipe: Recipe, folder: Path) -> float:
    """Dev accuracy of the best epoch, from the run's metrics."""
    from glotune.verbs.train import train

    run = train(recipe, out=folder)
    return float(run.metrics["validation"]["en"]["accuracy"])


def trainer_accuracy(recipe: Recipe, texts: TextData, folder: Path) -> float:
    """The same with Hugging Face's Trainer: the same rows, model, settings and choice of the best epoch."""
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    tokenizer = AutoTokenizer.from_pretrained(recipe.model.name)

    def encode(split: LabelledTexts) -> Any:
        encoded = tokenizer(split.table["text"].to_pylist(), truncation=True, max_length=recipe.data.max_length)
        return Dataset.from_dict({**encoded, "labels": split.labels.astype(int).tolist()})

    set_seed(recipe.seed)
    model = AutoModelForSequenceClassification.from_pretrained(recipe.model.name, num_labels=len(texts.labels))
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=recipe.train.batch_size,
        per_device_eval_batch_size=64,
        num_train_epochs=recipe.train.epochs,
        learning_rate=recipe.optimizer.learning_rate,
        weight_decay=recipe.optimizer.weight_decay,
        lr_scheduler_type="linear",
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        save_total_limit=1,
        seed=recipe.seed,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=encode(texts.splits["train"]),
        eval_dataset=encode(texts.splits["validation"]),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda found: {"accuracy": float((np.argmax(found[0], axis=1) == found[1]).mean())},
    )
    trainer.train()
    return float(trainer.evaluate()["eval_accuracy"])


def run(data: Path, encoder: Path, rows: int, seeds: int) -> list[Pair]:
    """Trains both sides with each seed, in turn, and prints the table."""
    pairs = []
    for seed in range(seeds):
        recipe = recipe_for(data, encoder, rows, seed)
        texts = read_texts(recipe.data, recipe.seed)
        with tempfile.TemporaryDirectory() as folder:
            ours = glotune_accuracy(recipe, Path(folder) / "run")
            theirs = trainer_accuracy(recipe, texts, Path(folder) / "trainer")
        pairs.append(Pair(seed, ours, theirs))
        print(f"seed {seed}: glotune {ours:.4f}, Trainer {theirs:.4f}", flush=True)
    return pairs


def table(pairs: list[Pair]) -> str:
    """Each seed, then mean and spread, as Markdown."""
    lines = ["| seed | glotune | Trainer | difference, points |", "| --- | --- | --- | --- |"]
    for pair in pairs:
        difference = 100 * (pair.glotune - pair.trainer)
        lines.append(f"| {pair.seed} | {pair.glotune:.4f} | {pair.trainer:.4f} | {difference:+.2f} |")
    ours, theirs = [pair.glotune for pair in pairs], [pair.trainer for pair in pairs]
    gap = 100 * (statistics.mean(ours) - statistics.mean(theirs))
    lines.append(f"| mean ± standard deviation | {_spread(ours)} | {_spread(theirs)} | {gap:+.2f} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values) if len(values) > 1 else 0.0:.4f}"
