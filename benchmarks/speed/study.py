"""A study of six learning rates over one frozen prefix: a real `glotune study`, each run in a process of its own."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.ours import forget_prefixes, recipe_of
from benchmarks.speed.rows import TrainingRow
from benchmarks.speed.side import Job, Result
from benchmarks.speed.world import World

RATES = (1e-5, 2e-5, 3e-5, 5e-5, 1e-4, 2e-4)


def job_of(row: TrainingRow, world: World, rates: Sequence[float] = RATES) -> Job:
    """The row's recipe with these rates, over the sample and so many epochs."""
    recipe = recipe_of(row, world, world.sample(row.texts), train__epochs=row.measured_epochs)
    recipe["data"] = {**recipe["data"], "test": str(world.validation)}
    told = {"kind": "study-glotune", "recipe": recipe, "cache": str(world.cache)}
    return {**told, "epochs": row.measured_epochs, "rates": list(rates)}


def ours(job: Job) -> Result:
    """Carries the study out.

    Returns:
        fill_seconds: the first run's cache; epoch_seconds: one per run, of its training; wall: of everything.
    """
    from glotune.recipe import yaml
    from glotune.recipe.study_loading import load_study, resolve_study
    from glotune.study.directory import StudyDirectory
    from glotune.study.run_study import run_study

    os.environ["GLOTUNE_CACHE"] = job["cache"]
    forget_prefixes(Path(job["cache"]))
    content: dict[str, Any] = {
        "name": "rates",
        "recipe": job["recipe"],
        "grid": {"optimizer.learning_rate": job["rates"]},
        "seeds": [0],
    }
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "study.yaml"
        file.write_text(yaml.dump(content), encoding="utf-8")
        started = time.perf_counter()
        out = Path(name) / "out"
        finished = run_study(resolve_study(load_study(str(file))), out)
        wall = time.perf_counter() - started
        results = list(StudyDirectory(out).read_results().values())
    if finished.outcome.failed:
        raise RuntimeError(f"runs failed: {finished.outcome.failed}")
    return {
        "fill_seconds": max(result["cache_seconds"] for result in results),
        "epoch_seconds": [result["train_seconds"] / job["epochs"] for result in results],
        "wall_seconds": wall,
        "runs": len(results),
    }
