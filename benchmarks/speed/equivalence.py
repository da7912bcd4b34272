"""Is it the same training? Dropout off, fp32, the same batches: the loss of every step against Trainer's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.speed import opponent, ours
from benchmarks.speed.rows import TrainingRow
from benchmarks.speed.side import Job, Measure
from benchmarks.speed.world import World

STEPS = 20
BATCH = 32
"""Texts in a step; rows with larger batches are checked with this one, which Trainer accumulates from parts of 8."""
PART = 8
TOLERANCE = 1e-5


def check(row: TrainingRow, world: World, measure: Measure, steps: int = STEPS) -> dict[str, Any]:
    """The largest difference between the losses of both sides, over so many steps.

    Both begin with the same weights and see the same texts in the same order; glotune runs packed, trimmed, with a
    pooled last layer and a cached prefix, Trainer padded and accumulating (corrected for its fault: the mean of a part
    over the number of parts).
    """
    small = replace(row, batch_size=BATCH, texts=BATCH * steps)
    own, theirs = jobs(small, world, steps)
    losses = measure(own)["losses"], measure(theirs)["losses"]
    if not len(losses[0]) == len(losses[1]) == steps:
        raise AssertionError(f"{len(losses[0])} and {len(losses[1])} steps instead of {steps}")
    return {
        "steps": steps,
        "batch_size": BATCH,
        "hidden": world.shape.hidden,
        "largest_difference": max(abs(a - b) for a, b in zip(*losses, strict=True)),
        "first_loss": losses[0][0],
        "last_loss": losses[0][-1],
    }


def jobs(row: TrainingRow, world: World, steps: int) -> tuple[Job, Job]:
    """(glotune's job, Trainer's): the recipe without dropout, in fp32; Trainer gets glotune's order of the texts."""
    sample = world.sample(row.texts)
    recipe = ours.recipe_of(row, world, sample, train__precision="fp32", train__epochs=2, model__dropout=0.0)
    if row.lora is not None:
        recipe["model"]["lora"]["dropout"] = 0.0
    own: Job = {"kind": "train-glotune", "recipe": recipe, "cache": str(world.cache), "stop": steps}
    theirs: Job = {
        **opponent.best_job(row, world, PART),
        "bf16": False,
        "dropout": 0.0,
        "order": order_of(recipe, sample),
        "steps": steps,
    }
    return own, theirs


def order_of(recipe: dict[str, Any], sample: Path) -> list[int]:
    """Rows of the sample in the order of glotune's first epoch."""
    from benchmarks.speed.world import read
    from glotune.data.batches import epoch_order
    from glotune.data.reading import read_texts

    resolved = ours.resolved(recipe)
    split = read_texts(resolved.data, resolved.seed).splits["train"]
    place = {row["text"]: index for index, row in enumerate(read(sample))}
    texts = split.table["text"].to_pylist()
    order = epoch_order(split.language_ids, resolved.seed, 0, None)
    return [place[texts[int(index)]] for index in order]
