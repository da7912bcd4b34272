"""Does glotune reach Trainer's scores on tasks beyond one label? The same rows, settings and loss, several seeds.

Trainer has a loss for each task of its own; here it gets that of the recipe (scores in standard deviations, votes as a
distribution) and its outputs are decided as the recipe decides, so that what differs is how the network is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tasks.parts import SPLIT, Told, World, trained
from glotune.data.reading import read_texts
from glotune.data.texts import LabelledTexts, TextData
from glotune.recipe import Recipe, load_recipe
from glotune.recipe.kinds import KINDS
from glotune.run.data import load_run
from glotune.stats.arrays import Answered
from glotune.stats.seed_scores import run_score, score_contrast
from glotune.tasks.baselines import Said, answers_of
from glotune.tasks.of_recipe import reading_of

SEEDS = 3
EVALUATES_LAST = 10**6
"""Steps between evaluations: one, at the end, so that both sides end with their last weights."""
Aims = NDArray[np.float32]


@dataclass(frozen=True)
class Comparison:
    """Both sides with each seed."""

    name: str
    recipe: Callable[[World], Mapping[str, Any]]

    def measure(self, world: World) -> Told:
        """Every seed of both sides that isn't there yet, and the contrast of their means over seeds and texts."""
        ours, theirs = [], []
        for seed in range(SEEDS):
            recipe = load_recipe(Recipe.model_validate({**self.recipe(world), "seed": seed}))
            folder = world.work / "runs" / self.name / f"seed-{seed}"
            run = load_run(trained(recipe.model_dump(mode="json"), folder))
            ours.append({language: run.outcomes(SPLIT, language) for language in run.languages(SPLIT)})
            theirs.append(by_trainer(recipe, folder.with_name(f"trainer-{seed}")))
        metric = KINDS[recipe.task].metric
        contrast = score_contrast([ours, theirs], [1.0, -1.0], metric)
        half = float(contrast.half_width(0.95))
        return {
            "metric": metric,
            "texts": sum(each.num_texts for each in ours[0].values()),
            "glotune": [run_score(each, metric) for each in ours],
            "trainer": [run_score(each, metric) for each in theirs],
            "difference": [float(contrast.estimate), float(contrast.estimate) - half, float(contrast.estimate) + half],
        }


def by_trainer(recipe: Recipe, folder: Path) -> dict[str, Answered]:
    """Language -> what Trainer's model answers on test, decided as the recipe decides."""
    texts = read_texts(recipe.data, recipe.seed, recipe.task)
    splits = [texts.splits["validation"], texts.splits[SPLIT]]
    test = answers_of(recipe, texts, splits, trainer_says(recipe, texts, folder))[1]
    found = {}
    for place, language in enumerate(splits[1].language_names):
        rows = np.flatnonzero(splits[1].language_ids == place)
        found[language] = test.outcomes(rows, splits[1].labels)
    return found


def trainer_says(recipe: Recipe, texts: TextData, folder: Path) -> Said:
    """A model trained by Trainer, as a function from texts to outputs; what it said is kept in the folder."""
    model: list[Any] = []

    def says(split: LabelledTexts) -> NDArray[np.float64]:
        kept = folder / f"{split.split}.npy"
        if not kept.is_file():
            if not model:
                model.append(fitted(recipe, texts, folder))
            folder.mkdir(parents=True, exist_ok=True)
            np.save(kept, model[0](split))
        return np.asarray(np.load(kept), dtype=np.float64)

    return says


def fitted(recipe: Recipe, texts: TextData, folder: Path) -> Callable[[LabelledTexts], NDArray[np.float32]]:
    """Trains by Trainer, and returns what asks the model."""
    from datasets import Dataset
    from transformers import AutoTokenizer, DataCollatorWithPadding

    tokenizer = AutoTokenizer.from_pretrained(recipe.model.name)

    def encode(split: LabelledTexts, aims_NL: Aims) -> Any:
        column = split.table["text"].to_pylist()
        encoded = tokenizer(column, truncation=True, max_length=recipe.data.max_length)
        return Dataset.from_dict({**encoded, "labels": aims_NL.tolist()})

    aims_NL = aims_of(recipe, texts)
    train = encode(texts.splits["train"], aims_NL)
    trainer = make_trainer(recipe, train, DataCollatorWithPadding(tokenizer), aims_NL.shape[1], folder)
    trainer.train()

    def ask(split: LabelledTexts) -> NDArray[np.float32]:
        nothing_NL = np.zeros((len(split), aims_NL.shape[1]), np.float32)
        return np.asarray(trainer.predict(encode(split, nothing_NL)).predictions, dtype=np.float32)

    return ask


def aims_of(recipe: Recipe, texts: TextData) -> Aims:
    """[N, L] what the outputs are to be on the training texts; raises ValueError where one of them is missing."""
    train = texts.splits["train"]
    if texts.targets is None:
        assert train.shares is not None  # the one other task here is of votes
        return train.shares.astype(np.float32)
    targets_NL = texts.targets[train.labels]
    if np.isnan(targets_NL).any():
        raise ValueError("Trainer knows no missing targets: compare on texts that have all")
    return reading_of(recipe, texts).aims(targets_NL)


def make_trainer(recipe: Recipe, train: Any, collator: Any, num_labels: int, folder: Path) -> Any:
    """Trainer with the recipe's settings and loss; the recipe freezes the embeddings and keeps the first layers."""
    from torch.nn import functional
    from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments, set_seed

    losses: dict[str, Any] = {
        "multi_label": functional.binary_cross_entropy_with_logits,
        "score": functional.mse_loss,
        "single_label": functional.cross_entropy,
    }
    loss_of = losses[recipe.task]

    class OfTheRecipe(Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            labels = inputs.pop("labels")
            outputs = model(**inputs)
            loss = loss_of(outputs.logits, labels)
            return (loss, outputs) if return_outputs else loss

    set_seed(recipe.seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        recipe.model.name, num_labels=num_labels, num_hidden_layers=recipe.model.layers
    )
    model.base_model.embeddings.requires_grad_(False)
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=recipe.train.batch_size,
        per_device_eval_batch_size=64,
        num_train_epochs=recipe.train.epochs,
        learning_rate=recipe.optimizer.learning_rate,
        weight_decay=recipe.optimizer.weight_decay,
        warmup_steps=recipe.schedule.warmup_ratio,
        lr_scheduler_type="linear",
        save_strategy="no",
        seed=recipe.seed,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        remove_unused_columns=False,
    )
    return OfTheRecipe(model=model, args=arguments, train_dataset=train, data_collator=collator)


def common(world: World, task: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Three layers above frozen embeddings, the first token read, as Trainer's model does."""
    return {
        "name": f"beside-trainer-{task.replace('_', '-')}",
        "task": task,
        "model": {"name": str(world.encoder), "layers": 3, "freeze": {"embeddings": True}},
        "data": {"max_length": 32, "train_rows": 800, **data},
        "optimizer": {"learning_rate": 3e-4},
        "train": {"epochs": 3, "precision": "fp32", "device": "cpu"},
        "schedule": {"warmup_ratio": 0.1},
        "evaluate": {"every": EVALUATES_LAST, "baselines": False},
        "checkpoints": {"keep": 1},
    }


def labels_recipe(world: World) -> dict[str, Any]:
    """Emotions in Marathi."""
    from benchmarks.tasks.emotions import EMOTIONS

    file = world.file("brighter_emotions", "mar")
    return common(world, "multi_label", {"train": {"mar": file}, "columns": {"labels": list(EMOTIONS)}})


def scores_recipe(world: World) -> dict[str, Any]:
    """How strong emotions are in Russian."""
    from benchmarks.tasks.emotions import EMOTIONS

    file = world.file("brighter_intensity", "rus")
    return common(world, "score", {"train": {"rus": file}, "columns": {"labels": list(EMOTIONS)}})


def votes_recipe(world: World) -> dict[str, Any]:
    """Votes on humor in Spanish."""
    from benchmarks.tasks.annotators import VOTE_COLUMNS

    data = {
        "train": {"es": str(world.data / "humor_haha" / "es_votes.csv.gz")},
        "columns": {"votes": VOTE_COLUMNS},
        "made_splits": {"validation": 0.02, "test": 0.05},
    }
    return common(world, "single_label", data)


PARTS = (
    Comparison("trainer/several labels", labels_recipe),
    Comparison("trainer/scores", scores_recipe),
    Comparison("trainer/votes", votes_recipe),
)
