"""One second chance for a collapsed run: warmup and a lower rate, recorded."""

from __future__ import annotations

import math
import shutil

from glotune.engine.recorder import Recorder
from glotune.engine.watch import CollapsedTraining
from glotune.errors import RunError
from glotune.recipe import Recipe, load_recipe, recipe_hash, recipe_yaml
from glotune.run.directory import RunDirectory, write_atomically
from glotune.run.records import RESTARTED
from glotune.words import counted

RATE_SHARE = 1 / 3
WARMUP_RATIO = 0.1


def gentler(recipe: Recipe, total_steps: int) -> Recipe:
    """The recipe with a third of its rates, at least a tenth of its `total_steps` as warmup, and no third chance."""
    optimizer, schedule = recipe.optimizer, recipe.schedule
    if schedule.warmup_steps is None:
        warmup: dict[str, float] = {"schedule.warmup_ratio": max(schedule.warmup_ratio, WARMUP_RATIO)}
    else:
        warmup = {"schedule.warmup_steps": max(schedule.warmup_steps, math.ceil(WARMUP_RATIO * total_steps))}
    head = optimizer.head_learning_rate
    return load_recipe(
        recipe,
        {
            "optimizer.learning_rate": optimizer.learning_rate * RATE_SHARE,
            "optimizer.head_learning_rate": None if head is None else head * RATE_SHARE,
            "schedule.minimum_learning_rate": schedule.minimum_learning_rate * RATE_SHARE,
            **warmup,
            "train.on_collapse": "warn",
        },
    )


def restart_gentler(directory: RunDirectory, recipe: Recipe, collapse: CollapsedTraining, recorder: Recorder) -> Recipe:
    """Clears what the collapsed attempt trained and writes the gentler recipe; the first one stays beside it.

    The main rank writes: others wait for it before they read the run again.

    Raises:
        RunError: the recipe says to stop instead.
    """
    if recipe.train.on_collapse == "stop":
        raise RunError(str(collapse))
    retried = gentler(recipe, collapse.total_steps)
    if recorder.is_main:
        steps = retried.schedule.warmup_steps
        warmup = f"warmup ratio {retried.schedule.warmup_ratio:g}" if steps is None else counted(steps, "warmup step")
        recorder.deviation(
            f"{RESTARTED} with learning rate {retried.optimizer.learning_rate:g} and {warmup} "
            "(recipe.collapsed.yaml holds the first recipe)"
        )
        # In this order a crash in between leads back to the first recipe and its collapse, or on with the second:
        # never to the second recipe with the first one's weights.
        shutil.rmtree(directory.checkpoints, ignore_errors=True)
        write_atomically(directory.path / "recipe.collapsed.yaml", directory.recipe.read_bytes())
        write_atomically(directory.recipe, recipe_yaml(retried))
        attempt = directory.read_manifest().attempt + 1
        directory.update_manifest(attempt=attempt, recipe_hash=recipe_hash(retried))
    return retried
