"""The whole of the fuzzing: shares of the inputs, a run to harm, a table."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import glotune.verbs.train
from faults import foreign_models, fuzz, handed_over, label_forms, output_targets
from faults.encoder import make_encoder
from faults.recipes import make_recipe

SHARES = {
    "recipes": 0.18,
    "data files": 0.14,
    "prediction inputs": 0.1,
    "texts to predict": 0.08,
    "checkpoints": 0.08,
    "run directories": 0.12,
    "file names": 0.06,
    "recipe scalars": 0.06,
    "encodings": 0.05,
    "label types": 0.04,
    "label forms": 0.04,
    "output targets": 0.025,
    "foreign models": 0.025,
}
"""Kind of input -> its part of all."""


def fuzz_all(count: int, folder: Path, seed: int, only: str | None = None) -> list[fuzz.FuzzResult]:
    """Tries `count` inputs in all, or of the kind `only`."""
    folder = folder.resolve()  # attempts work in a folder of their own
    os.environ["GLOTUNE_CACHE"] = str(folder / "cache")
    encoder = make_encoder(folder / "encoder")
    recipe = make_recipe(folder, "trimmed", encoder)
    run = glotune.verbs.train.train(recipe, out=folder / "run", command=[], report=False).directory
    attempts: dict[str, fuzz.Attempt] = {
        "recipes": fuzz.recipes(recipe),
        "data files": fuzz.data_files(),
        "prediction inputs": fuzz.prediction_inputs(),
        "texts to predict": fuzz.predictions(run),
        "checkpoints": fuzz.checkpoints(run),
        "run directories": fuzz.run_directories(run),
        "file names": handed_over.file_names(),
        "recipe scalars": handed_over.recipe_scalars(),
        "encodings": handed_over.encodings(),
        "label types": handed_over.label_types(encoder),
        "label forms": label_forms.label_forms(),
        "output targets": output_targets.output_targets(run.path),
        "foreign models": foreign_models.foreign_models(run.model),
    }
    return [
        fuzz.fuzz(kind, attempt, range(count if only else round(count * SHARES[kind])), seed, folder)
        for kind, attempt in attempts.items()
        if only in (None, kind)
    ]


def report(count: int, folder: Path, seed: int, only: str | None) -> int:
    """Prints the table; 1 where an input was neither accepted nor refused."""
    started = time.monotonic()
    results = fuzz_all(count, folder, seed, only)
    print("| input | tried | accepted | refused | neither | slowest |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for each in results:
        neither = sum(each.failures.values())
        print(f"| {each.kind} | {each.inputs} | {each.accepted} | {each.refused} | {neither} | {each.slowest:.2f} s |")
    print(f"\n{sum(each.inputs for each in results)} inputs in {time.monotonic() - started:.0f} s")
    for each in results:
        for what, often in each.failures.most_common():
            print(f"{each.kind}, {often} times, first {what}", file=sys.stderr)
    return int(any(each.failures for each in results))
