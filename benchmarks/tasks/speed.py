"""Several labels at the speed of one: the same texts, encoder and batches, A B A B."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.tasks.emotions import EMOTIONS, emotion_file, rows_of, write_rows
from benchmarks.tasks.parts import Told, World, trained
from glotune.run.data import load_run

LANGUAGE = "deu"
ROUNDS = 3
NOTHING = "nothing"


@dataclass(frozen=True)
class LabelsAgainstOne:
    """A run of six labels against one of the first of them that a text has."""

    name: str = "speed/labels"

    def measure(self, world: World) -> Told:
        """Seconds of all steps of both, in turns; what an earlier call measured stands."""
        file = with_first_label(world)
        columns: dict[str, dict[str, Any]] = {
            "single_label": {"label": "first"},
            "multi_label": {"labels": list(EMOTIONS)},
        }
        seconds: dict[str, list[float]] = {task: [] for task in columns}
        for number in range(ROUNDS):
            for task, column in columns.items():
                folder = world.work / "runs" / self.name / f"{task}-{number}"
                run = load_run(trained(recipe(world, task, file, column), folder))
                seconds[task].append(run.history.train_seconds() or 0.0)
        ratios = [one / several for one, several in zip(*seconds.values(), strict=True)]
        return {"seconds": seconds, "ratio": [statistics.median(ratios), min(ratios), max(ratios)]}


def recipe(world: World, task: str, file: str, columns: dict[str, Any]) -> dict[str, Any]:
    """One epoch through the encoder's first three layers."""
    return {
        "name": "speed",
        "task": task,
        "model": {"name": str(world.encoder), "layers": 3, "freeze": {"embeddings": True}},
        "data": {"train": {LANGUAGE: file}, "columns": columns, "max_length": 64},
        "optimizer": {"learning_rate": 1e-4},
        "train": {"epochs": 1, "precision": "fp32", "device": "cpu"},
        "evaluate": {"baselines": False},
        "checkpoints": {"keep": 1},
    }


def with_first_label(world: World) -> str:
    """640 training texts and some to validate on, with a column that names the first label of each."""
    rows = rows_of(emotion_file(world, LANGUAGE))
    kept = [row for row in rows if row["split"] == "train"][:640] + [row for row in rows if row["split"] == "dev"]
    for row in kept:
        row["first"] = next((name for name in EMOTIONS if row[name] == "1"), NOTHING)
    return write_rows(Path(world.work) / "data" / f"first-{LANGUAGE}.csv", kept)


PARTS = (LabelsAgainstOne(),)
