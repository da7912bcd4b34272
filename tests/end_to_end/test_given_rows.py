"""Runs on rows from Python: the run keeps them, so it goes on, is evaluated, moved and reproduced like any other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import glotune
from glotune.engine.observer import Silent
from glotune.errors import InterruptedRun, UserError
from glotune.recipe import Recipe
from glotune.run.records import Event
from glotune.verbs.evaluate import evaluate
from glotune.verbs.reproduce import reproduce
from glotune.verbs.resume import resume
from small_runs import sentences, small_recipe

ROWS = {
    "train": {"en": pd.DataFrame(sentences("en", 60))},
    "validation": {"en": pd.DataFrame(sentences("en", 24, 1))},
    "test": {"es": pd.DataFrame(sentences("es", 30, 2))},
}


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    made = small_recipe(tmp_path)
    for file in tmp_path.glob("*.csv"):
        file.unlink()
    return made


class StopsAtStep(Silent):
    def __init__(self, step: int) -> None:
        self.step = step

    def event(self, event: Event) -> None:
        if event.kind == "step" and event.step == self.step:
            raise KeyboardInterrupt


def test_a_run_on_frames_is_that_on_files(tmp_path: Path) -> None:
    made = small_recipe(tmp_path)
    on_files = glotune.train(made, out=tmp_path / "files", report=False)
    on_frames = glotune.train(made, data=ROWS, out=tmp_path / "frames", report=False)
    assert on_frames.manifest.data_hash == on_files.manifest.data_hash
    assert on_frames.metrics == on_files.metrics
    assert sorted(path.name for path in on_frames.directory.data.iterdir()) == [
        "test.es.parquet", "train.en.parquet", "validation.en.parquet",
    ]  # fmt: skip
    assert on_frames.manifest.data[0].path == "data/train.en.parquet"


@pytest.mark.extras
def test_it_is_resumed_evaluated_and_reproduced_from_its_directory_alone(tmp_path: Path, recipe: Recipe) -> None:
    whole = glotune.train(recipe, data=ROWS, out=tmp_path / "whole", report=False)
    with pytest.raises((InterruptedRun, KeyboardInterrupt)):
        glotune.train(recipe, data=ROWS, out=tmp_path / "cut", observer=StopsAtStep(6), report=False)
    shutil.move(tmp_path / "cut", tmp_path / "moved")
    resumed = resume(tmp_path / "moved", report=False)
    assert resumed.metrics == whole.metrics
    assert evaluate(resumed.path).evaluations
    again = reproduce(resumed.path, out=tmp_path / "again")
    assert again.is_equal, again.numbers
    assert again.run is not None
    assert again.run.manifest.recipe_hash == whole.manifest.recipe_hash
    shutil.rmtree(resumed.path)
    assert reproduce(again.run.path, out=tmp_path / "once more").is_equal, "the second run keeps the rows too"


@pytest.mark.parametrize("keys", [{"model__layers": 9}, {"data__columns": {"text": "txt"}}], ids=str)
def test_a_refused_run_leaves_nothing(tmp_path: Path, recipe: Recipe, keys: dict[str, Any]) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError):
        glotune.train(recipe, data=ROWS, out=tmp_path / "run", report=False, **keys)
    assert sorted(tmp_path.iterdir()) == before
