"""glotune's side: real runs by `glotune.train`, stopped by a signal after the steps that are to be timed."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.speed.rows import TrainingRow, training_row
from benchmarks.speed.side import Job, Result
from benchmarks.speed.world import LABELS, MAX_LENGTH, World
from glotune.recipe import Recipe, load_recipe
from glotune.run.directory import RunDirectory
from glotune.run.records import Event


def job_of(row: TrainingRow, world: World, **more: Any) -> Job:
    """The job of one round: the recipe, and how many steps are run."""
    steps = row.texts // row.batch_size
    recipe = recipe_of(row, world, world.sample(row.texts))
    return {
        "kind": "train-glotune",
        "row": row.name,
        "recipe": recipe,
        "cache": str(world.cache),
        "stop": steps * row.measured_epochs,
        "texts": row.texts,
        **more,
    }


def recipe_of(row: TrainingRow, world: World, train: Path, **changes: Any) -> dict[str, Any]:
    """The row's recipe over the texts of `train`, as a mapping.

    The whole data's vocabulary is kept (through the test split), so that a sample is trimmed as the whole is.
    """
    recipe: dict[str, Any] = {
        "name": row.name,
        "model": {"name": str(world.encoder), **row.model},
        "data": {
            "train": str(train),
            "validation": str(world.validation),
            "test": str(world.cover),
            "labels": list(LABELS),
            "max_length": MAX_LENGTH,
        },
        "optimizer": {"learning_rate": row.learning_rate},
        "schedule": {"name": "constant"},
        "train": {"epochs": row.epochs, "batch_size": row.batch_size, "device": "cpu"},
        "records": {"text": False},
    }
    for path, value in changes.items():
        section, _, key = path.partition("__")
        recipe[section] = {**recipe.get(section, {}), key: value}
    return recipe


class Watch:
    """Times the steps, and asks the run to stop (as a user's SIGTERM does) after the last of them."""

    def __init__(self, stop: int | None) -> None:
        self.stop = stop
        self.ends: list[float] = []

    def log(self, message: str) -> None:
        """Nothing: the run keeps its own log."""

    def event(self, event: Event) -> None:
        """Nothing: the run keeps its own events."""

    def progress(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Notes when each step ended."""
        if stage == "train":
            self.ends.append(time.perf_counter())
            if done == self.stop:
                os.kill(os.getpid(), signal.SIGTERM)


def train(job: Job) -> Result:
    """Runs the job's recipe from a cold prefix cache until its last timed step.

    Returns:
        seconds: of the steps, from the first one's start to the last one's end, evaluations between epochs apart;
        epoch_seconds: of that, in each epoch;
        fill_seconds: of the prefix cache, 0 without one; losses: of the steps; texts, tokens, steps.
    """
    from glotune.errors import InterruptedRun
    from glotune.verbs import train as spine

    os.environ["GLOTUNE_CACHE"] = job["cache"]
    if not job.get("keep_prefix"):
        forget_prefixes(Path(job["cache"]))
    filled = timed(spine, "with_cached_prefix")
    watch = Watch(job["stop"])
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "run"
        with suppress(InterruptedRun):
            spine.train(resolved(job["recipe"]), out=out, observer=watch, report=False)
        directory = RunDirectory(out)
        steps = [event for event in directory.events() if event.kind == "step"]
        changes = [change.kind for change in directory.read_manifest().changes]
        plan = directory.read_manifest().plan
    epochs = seconds_of_epochs(steps, watch.ends)
    has_prefix = "prefix_cache" in changes and bool(job["recipe"]["model"].get("freeze", {}).get("layers"))
    return {
        "seconds": sum(epochs),
        "epoch_seconds": epochs,
        "fill_seconds": filled[0] if filled and has_prefix else 0.0,
        "losses": [step.data["loss"] for step in steps],
        "texts": sum(step.data["texts"] for step in steps),
        "tokens": sum(step.data["tokens"] for step in steps),
        "steps": len(steps),
        "wait_seconds": sum(step.data["wall"]["wait_seconds"] for step in steps),
        "plan": None if plan is None else plan.model_dump(exclude={"reasons"}),
    }


def seconds_of_epochs(steps: list[Event], ends: list[float]) -> list[float]:
    """Wall time of each epoch's steps with what lies between them; what follows its end (its evaluation) apart."""
    found: list[float] = []
    for index, step in enumerate(steps):
        if index == 0 or float(steps[index - 1].epoch).is_integer():
            found.append(float(step.data["wall"]["seconds"]))
        else:
            found[-1] += ends[index] - ends[index - 1]
    return found


def whole_run(job: Job) -> Result:
    """A complete run: loading, steps, checkpoints, evaluation, saving. What counts is the process's peak memory."""
    from glotune.verbs import train as spine

    os.environ["GLOTUNE_CACHE"] = job["cache"]
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "run"
        spine.train(resolved(job["recipe"]), out=out, report=False)
        saved = sum(file.stat().st_size for file in (out / "model").iterdir())
        changes = RunDirectory(out).read_manifest().changes
    return {"saved_bytes": saved, "trainable": changes[-1].trainable_after if changes else None}


def resolved(recipe: dict[str, Any]) -> Recipe:
    """The recipe, validated."""
    return load_recipe(Recipe.model_validate(recipe))


def timed(module: Any, name: str) -> list[float]:
    """Times every call of a module's function from now on; the list fills with seconds."""
    function, seconds = getattr(module, name), []

    def call(*arguments: Any, **keywords: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*arguments, **keywords)
        finally:
            seconds.append(time.perf_counter() - started)

    setattr(module, name, call)
    return seconds


def forget_prefixes(cache: Path) -> None:
    """Leaves no warm prefix behind."""
    for entry in cache.glob("prefix-*"):
        shutil.rmtree(entry, ignore_errors=True)


def row_of(job: Job) -> TrainingRow:
    """The row that a job belongs to."""
    return training_row(job["row"])
