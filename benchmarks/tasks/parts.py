"""A part: one run on real texts, and what is told of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from glotune.recipe import Recipe, load_recipe
from glotune.recipe.kinds import KINDS
from glotune.run.data import RunData, load_run
from glotune.run.directory import RunDirectory

Told = dict[str, Any]
SPLIT = "test"


@dataclass(frozen=True)
class World:
    """Where texts, encoder and runs are."""

    data: Path
    encoder: Path
    work: Path

    def file(self, dataset: str, language: str) -> str:
        """A file of the data folder, gzipped or not; raises FileNotFoundError where there is none."""
        for name in (f"{language}.csv", f"{language}.csv.gz"):
            if (path := self.data / dataset / name).is_file():
                return str(path)
        raise FileNotFoundError(f"{self.data / dataset} holds no {language}.csv")


class Measurable(Protocol):
    """What has a name and is measured once."""

    @property
    def name(self) -> str:
        """``GROUP/WHICH``."""

    def measure(self, world: World) -> Told:
        """Whatever is kept of it."""


@dataclass(frozen=True)
class Part:
    """One run.

    Attributes:
        name: ``GROUP/WHICH``.
        recipe: makes what is trained; may write prepared files into `World.work`.
        metrics: what is told of each test language, the first of them beside the cheap models'.
    """

    name: str
    recipe: Callable[[World], Mapping[str, Any]]
    metrics: tuple[str, ...]

    def measure(self, world: World) -> Told:
        """Trains, or goes on where an earlier call stopped, and says what came out."""
        return told(load_run(trained(self.recipe(world), world.work / "runs" / self.name)), self.metrics)


def trained(recipe: Mapping[str, Any], folder: Path) -> RunDirectory:
    """The complete run at `folder`, made, continued or found there."""
    from glotune.verbs.resume import resume
    from glotune.verbs.train import train

    if (folder / "manifest.json").is_file():
        return resume(folder, report=False).directory
    folder.parent.mkdir(parents=True, exist_ok=True)
    return train(load_recipe(Recipe.model_validate(recipe)), out=folder, report=False).directory


def told(run: RunData, metrics: tuple[str, ...]) -> Told:
    """Scores on test with their intervals, beside what cheap models make of the same texts."""
    assert run.verdict is not None  # a complete run has one
    metric = KINDS[run.manifest.task].metric
    validation = [each.scores[metrics[0]] for each in run.evaluations["validation"].values()]
    return {
        "verdict": run.verdict.status,
        "validation": statistics.mean(value for value in validation if value is not None),
        "minutes_in_steps": (run.history.train_seconds() or 0.0) / 60,
        "languages": {
            language: {
                "texts": evaluation.n,
                "scores": {name: _with_interval(evaluation.scores[name], evaluation.intervals.get(name))
                           for name in metrics},
                **_beside(run, language, metric),
            }
            for language, evaluation in run.evaluations.get(SPLIT, {}).items()
        },
    }  # fmt: skip


def _with_interval(value: float | None, interval: Any) -> list[float | None]:
    return [value, None, None] if interval is None else [value, interval.low, interval.high]


def _beside(run: RunData, language: str, metric: str) -> Told:
    """What knows the targets' frequencies alone, TF-IDF, and the run minus TF-IDF, by the task's own metric."""
    if run.baselines is None or run.baselines.left_out is not None:
        return {"majority": None, "tfidf": None}
    found: Told = {}
    for name in ("majority", "tfidf"):
        scores = run.baselines.score(name, SPLIT, language)
        found[name] = None if scores is None else scores.scores[metric]
    gain = run.baselines.gain(SPLIT, [language])
    return found if gain is None else {**found, "gain": _with_interval(gain.value, gain.interval)}


def read_results(path: Path) -> dict[str, Told]:
    """Part -> what was told of it so far; nothing where the file isn't there yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def add_result(path: Path, name: str, found: Told) -> None:
    """Puts a part into the file, in the order of names; numbers to 6 digits."""
    results = {**read_results(path), name: found}
    rounded = json.loads(json.dumps(results), parse_float=lambda text: float(f"{float(text):.6g}"))
    path.write_text(json.dumps(rounded, indent=1, sort_keys=True) + "\n", encoding="utf-8")
