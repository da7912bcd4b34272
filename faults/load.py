"""Many rows, and many runs: how memory and starting times grow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import glotune.verbs.train
from faults.encoder import make_encoder
from faults.memory import in_child
from faults.recipes import WORDS, make_recipe
from glotune.recipe import load_recipe
from glotune.report import write_report
from glotune.run.directory import RunDirectory
from glotune.verbs.evaluate import evaluate

LANGUAGES = ("en", "es", "de")
CELL = 10_000
"""Rows that are written at a time."""


def rows(folder: Path, count: int, only: Sequence[str] = ()) -> int:
    """Trains on, evaluates, predicts and reports `count` rows in each of three languages; prints time and peak memory.

    Each stage is a process of its own: its peak is its own.

    Args:
        only: stages to run, over what earlier ones left in the folder; all of them where none is named.
    """
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["GLOTUNE_CACHE"] = str(folder / "cache")
    files = {language: str(write_rows(folder / f"{language}.csv", count, language)) for language in LANGUAGES}
    small = {language: str(write_rows(folder / f"{language}_dev.csv", 500, language)) for language in LANGUAGES}
    base = make_recipe(folder, "trimmed", make_encoder(folder / "encoder"))
    recipe = load_recipe(
        base,
        {
            "data.train": files,
            "data.validation": small,
            "data.test": small,
            "train.epochs": 1,
            "train.batch_size": 4096,
            "evaluate.every": "epoch",
            "checkpoints.every": "epoch",
            "records.text": False,
        },
    )
    out = folder / "run"
    stages: dict[str, Callable[[], object]] = {
        "train": lambda: glotune.verbs.train.train(recipe, out=out, command=[], report=False),
        "evaluate": lambda: evaluate(out, data=files),
        "predict": lambda: predict(out, files["es"], folder / "predictions.jsonl"),
        "report": lambda: write_report(RunDirectory.open(out)),
    }
    print(
        f"| stage of 3 x {count:,} rows | seconds | CPU seconds | own memory | with mapped files |\n"
        "| --- | ---: | ---: | ---: | ---: |"
    )
    failed = False
    for name in only or stages:
        used = in_child(stages[name], folder / f"{name}.log")
        failed |= used.code != 0
        print(
            f"| {name} | {used.seconds:.0f} | {used.cpu_seconds:.0f} | {used.own / 2**20:.0f} MiB "
            f"| {used.resident / 2**20:.0f} MiB |",
            flush=True,
        )
    return int(failed)


def write_rows(path: Path, count: int, language: str) -> Path:
    """Made texts of two to nine words, each different."""
    generator, labels = Random(language), list(WORDS)
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for start in range(0, count, CELL):
            lines = []
            for number in range(start, min(start + CELL, count)):
                label = labels[number % len(labels)]
                words = " ".join(generator.choices(WORDS[label].split(), k=generator.randint(2, 9)))
                lines.append(f"{words} {number},{label}\n")
            file.writelines(lines)
    return path


def predict(run: Path, source: str, out: Path) -> None:
    """As `glotune predict` does, from file to file."""
    from glotune.cli.main import build_app

    build_app("predict")(args=["predict", str(run), source, "--out", str(out)], standalone_mode=False)


def runs(folder: Path, count: int) -> int:
    """Copies of a finished run; prints when `glotune list`, `compare` and `report` first say something, and end."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["GLOTUNE_CACHE"] = str(folder / "cache")
    recipe = make_recipe(folder, "trimmed", make_encoder(folder / "encoder"))
    first = glotune.verbs.train.train(recipe, out=folder / "first", command=[], report=False)
    many = folder / "runs"
    for number in range(count):
        copy = RunDirectory(many / f"run-{number:04d}")
        shutil.copytree(first.path, copy.path, ignore=shutil.ignore_patterns("checkpoints", "model"))
        copy.update_manifest(name=f"run-{number:04d}", seed=number)
    print(f"| command over {count:,} runs | first output after | done after |\n| --- | ---: | ---: |")
    for command in (["list", str(many)], ["compare", str(many), "--no-tests"], ["report", str(many)]):
        began, ended = times_of(command)
        print(f"| glotune {command[0]} | {began:.1f} s | {ended:.1f} s |", flush=True)
    return 0


def times_of(command: list[str]) -> tuple[float, float]:
    """Seconds until a command's first line on either stream, and until its end."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "glotune.cli.main", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    began = time.monotonic() - started
    process.communicate()
    return began, time.monotonic() - started
