"""What holds for every task, shown on its real texts: killed and resumed it is the same run, transformers opens its
model with the same scores, the Classifier learns it, and a study answers a claim about it.

Small on purpose: two layers, some hundred texts. How good the models are stands elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.annotators import VOTE_COLUMNS
from benchmarks.tasks.emotions import EMOTIONS, rows_of, write_rows
from benchmarks.tasks.parts import SPLIT, Told, World, trained
from glotune.evidence.equality import differences
from glotune.recipe import Recipe, load_recipe, recipe_yaml
from glotune.run.directory import RunDirectory

KILLED_AFTER = 5
"""Steps."""
TEXTS = 64
"""That the pipeline is asked about."""


@dataclass(frozen=True)
class Proof:
    """One task."""

    name: str
    recipe: Callable[[World], Mapping[str, Any]]

    def measure(self, world: World) -> Told:
        """Everything that is to hold; what an earlier call found stands."""
        folder = world.work / "runs" / self.name
        recipe = load_recipe(Recipe.model_validate(self.recipe(world)))
        whole = trained(recipe.model_dump(mode="json"), folder / "whole")
        steps: dict[str, Callable[[], Any]] = {
            "resumed": lambda: killed(recipe, folder),
            "pipeline": lambda: beside_pipeline(whole, recipe),
            "classifier": lambda: classifier(recipe, folder / "classifier"),
            "claim": lambda: study(recipe, folder / "study"),
        }
        return {name: kept(folder / f"{name}.json", step) for name, step in steps.items()}


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What an earlier call found, or what is found now."""
    if not path.is_file():
        path.write_text(json.dumps(make()), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def killed(recipe: Recipe, folder: Path) -> Told:
    """Trains in a process of its own, kills it between two checkpoints and goes on: after which step, and what differs
    from the run that nobody killed."""
    path = folder / "recipe.yaml"
    path.write_text(recipe_yaml(recipe), encoding="utf-8")
    run = RunDirectory(folder / "killed")
    shutil.rmtree(run.path, ignore_errors=True)  # of an earlier call that did not come to its end
    command = "from glotune.cli.main import run; run()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "train", str(path), "--out", str(run.path)], stdout=subprocess.DEVNULL
    )
    while (step := last_step(run)) < KILLED_AFTER:
        if process.poll() is not None:
            raise RuntimeError(f"the run ended by itself after step {step}")
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    step = last_step(run)
    return {"after_step": step, "differences": differences(RunDirectory(folder / "whole"), trained({}, run.path))}


def last_step(run: RunDirectory) -> int:
    """The last step that the run wrote down."""
    return max((event.step for event in run.raw_events() if event.kind == "step"), default=0)


def beside_pipeline(run: RunDirectory, recipe: Recipe) -> Told:
    """How far transformers' scores of the same texts are from ours, in probabilities or in the scores' own units.

    The pipeline knows no windows: with them, texts that fit into one are asked about.
    """
    from transformers import pipeline

    import glotune

    paths = sorted(run.predictions.glob(f"{SPLIT}.*.parquet"))
    predictor = glotune.load(run.path)
    tokens = recipe.data.max_length
    classify = pipeline("text-classification", model=str(run.model), top_k=None)
    texts = [text for text in texts_of(paths) if len(classify.tokenizer(text)["input_ids"]) <= tokens][:TEXTS]
    largest = 0.0
    for ours, answer in zip(predictor.predict(texts), classify(texts, truncation=True), strict=True):
        theirs = {each["label"]: each["score"] for each in answer}
        own = ours.probabilities if ours.scores is None else ours.scores
        largest = max(largest, *(abs(own[name] - theirs[name]) for name in own))
    config = json.loads((run.model / "config.json").read_text(encoding="utf-8"))
    return {"problem_type": config["problem_type"], "texts": len(texts), "largest_difference": largest}


def texts_of(paths: list[Path]) -> list[str]:
    """The texts of prediction records."""
    import pyarrow.parquet as pq

    return [text for path in paths for text in pq.read_table(path, columns=["text"])["text"].to_pylist()]


def classifier(recipe: Recipe, out: Path) -> Told:
    """Learns the training texts through scikit-learn's interface, and answers the test texts."""
    import glotune
    from glotune.data.reading import read_texts
    from glotune.recipe.keys import flat_keys

    texts = read_texts(recipe.data, recipe.seed, recipe.task)
    train, test = texts.splits["train"], texts.splits[SPLIT]
    keys: dict[str, Any] = {
        key.replace(".", "__"): value
        for key, value in flat_keys(recipe_yaml(recipe)).items()
        if key in ("model.layers", "train.epochs", "optimizer.learning_rate", "data.max_length", "train.precision")
    }
    targets: Any
    if texts.targets is not None:
        targets = texts.targets[train.labels]
    else:
        targets = train.labels if train.votes is None else train.votes
    own: dict[str, Any] = {"task": "score"} if recipe.task == "score" else {}
    windows: dict[str, Any] = {} if recipe.data.windows is None else {"data__windows": recipe.data.windows.model_dump()}
    made = glotune.Classifier(recipe.model.name, out=out, evaluate__baselines=False, **keys, **own, **windows)
    made.fit(train.table["text"].to_pylist(), targets, votes=train.votes is not None)
    column = test.table["text"].to_pylist()
    answered = np.asarray(made.predict(column))
    asked = glotune.load(made.run_).predict(column)
    same = [_answer(each) for each in asked]
    return {
        "texts": len(column),
        "answers_as_its_run": bool(np.allclose(answered, np.array(same).reshape(answered.shape))),
    }


def _answer(prediction: Any) -> list[float]:
    """Numbers in the order of the columns or classes, whose names are their numbers."""
    if prediction.scores is not None:
        return list(prediction.scores.values())
    if prediction.labels is not None:
        return [float(name in prediction.labels) for name in prediction.probabilities]
    return [float(prediction.label)]


def study(recipe: Recipe, out: Path) -> Told:
    """Two seeds of one and of two layers, and a claim about them."""
    from glotune.recipe.study import StudyRecipe
    from glotune.recipe.study_loading import resolve_study
    from glotune.study.run_study import run_study

    metric = recipe.evaluate.metric
    keys = {**recipe.model_dump(mode="json"), "evaluate": {"metric": metric, "baselines": False}}
    content = {
        "name": "layers",
        "recipe": keys,
        "variants": {"two": {"model.layers": 2}, "one": {"model.layers": 1}},
        "seeds": 2,
        "metric": metric,
        "claims": [
            {"name": "Two layers are better than one", "form": "superior", "variants": ["two", "one"], "metric": metric}
        ],
    }
    finished = run_study(resolve_study(StudyRecipe.model_validate(content)), out)
    (answer,) = finished.summary.answers
    return {"claim": answer.claim.name, "answer": str(answer.answer), "runs": len(finished.plan.runs)}


def tiny(world: World, task: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Two layers, 240 texts, three epochs, a checkpoint every three steps."""
    return {
        "name": "proof",
        "task": task,
        "model": {"name": str(world.encoder), "layers": 2, "freeze": {"embeddings": True}},
        "data": {"max_length": 48, "train_rows": 240, **data},
        "optimizer": {"learning_rate": 3e-4},
        "train": {"epochs": 2, "precision": "fp32", "device": "cpu"},
        "checkpoints": {"every": 3, "keep": 1},
    }


def few(world: World, path: str, name: str) -> str:
    """The rows that are trained on, and a hundred of each other split."""
    rows = rows_of(path)
    splits = dict.fromkeys(row.get("split", "train") for row in rows)
    kept = [row for split in splits for row in [row for row in rows if row.get("split", "train") == split][:300]]
    return write_rows(world.work / "data" / f"few-{name}.csv", kept)


def several_labels(world: World) -> dict[str, Any]:
    """Emotions in Marathi."""
    file = few(world, world.file("brighter_emotions", "mar"), "mar")
    return tiny(world, "multi_label", {"train": {"mar": file}, "columns": {"labels": list(EMOTIONS)}})


def scores(world: World) -> dict[str, Any]:
    """Strengths of emotions in Russian."""
    file = few(world, world.file("brighter_intensity", "rus"), "rus")
    data = {"train": {"rus": file}, "columns": {"labels": list(EMOTIONS)}, "levels": [0, 1, 2, 3]}
    return tiny(world, "score", data)


def votes(world: World) -> dict[str, Any]:
    """Votes on humor in Spanish."""
    rows = rows_of(str(world.data / "humor_haha" / "es_votes.csv.gz"))[:500]
    file = write_rows(world.work / "data" / "few-votes.csv", rows)
    splits = {"validation": 0.2, "test": 0.2}
    return tiny(
        world, "single_label", {"train": {"es": file}, "columns": {"votes": VOTE_COLUMNS}, "made_splits": splits}
    )


def windows(world: World) -> dict[str, Any]:
    """Long documents in German."""
    file = few(world, world.file("typology_binary", "de"), "de")
    return tiny(world, "single_label", {"train": {"de": file}, "windows": {"stride": 16, "most": 4}})


PARTS = (
    Proof("proofs/several labels", several_labels),
    Proof("proofs/scores", scores),
    Proof("proofs/votes", votes),
    Proof("proofs/windows", windows),
)
