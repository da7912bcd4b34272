"""A study that searches, with real trials: cut off and continued to the same ones, the winner judged on fresh seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from glotune.recipe import yaml
from glotune.recipe.study_loading import load_study, resolve_study
from glotune.run.directory import RunDirectory
from glotune.run.records import Event, RunStatus
from glotune.run.trials import read_rungs, read_search, read_trials
from glotune.study import child, run_study
from glotune.study.directory import StudyDirectory
from glotune.study.workers import Ended, Message
from small_runs import sentences, small_recipe, write_csv

pytest.importorskip("optuna", reason="needs glotune[search]")
pytestmark = pytest.mark.extras


class Killed(BaseException):
    """The study's process is gone."""


class Here:
    """Carries runs out in this process, one at a time: a process for each is tested with every other study."""

    dies_in = ""
    """A run at whose second evaluation all is lost."""

    def __init__(self, directory: StudyDirectory, jobs: int) -> None:
        self.at_once: int | None = jobs
        self.room, self.release_seconds = jobs, 0.0
        self.directory, self.waiting = directory, deque[str]()

    def start(self, run: str) -> None:
        self.waiting.append(run)

    def listen(self) -> Message:
        run = self.waiting.popleft()
        try:
            child.carry_out(self.directory, run, Telling(run == self.dies_in))
        except Killed:
            RunDirectory.open(self.directory.runs / run).update_manifest(status=RunStatus.RUNNING, reason=None)
            raise
        return Ended(run, 0)

    def stop(self) -> None:
        self.waiting.clear()


class Telling(child.Telling):
    def __init__(self, dies: bool) -> None:
        super().__init__()
        self.left = 2 if dies else -1

    def tell(self, content: Any) -> None:
        pass

    def event(self, event: Event) -> None:
        self.left -= event.kind == "evaluation"
        if self.left == 0:
            raise Killed


def write_study(folder: Path, **search: Any) -> Path:
    keys: dict[str, Any] = {
        "train__epochs": 3,
        "model__name": "glotune-nano",
    }  # which learns what a random one does not
    recipe = small_recipe(folder, rows=120, **keys).model_dump(mode="json", exclude={"name", "seed"})
    recipe["data"]["test"]["en"] = str(write_csv(folder / "en.csv", sentences("en", 30, 3)))
    space = {"optimizer.learning_rate": {"low": 1e-6, "high": 1e-2, "log": True}, "train.batch_size": [8, 16]}
    made = {"space": space, "budget": {"runs": 4}, **search}
    path = folder / "made.yaml"
    path.write_text(yaml.dump({"name": "made", "recipe": recipe, "search": made, "seeds": 1}))
    return path


def trials(folder: Path) -> list[dict[str, Any]]:
    timed = {"seconds", "elapsed"}
    return [trial.model_dump(exclude=timed) for trial in read_trials(folder / "search")]


@pytest.mark.timeout(600)
def test_a_search_that_was_cut_off_tries_the_same_and_its_winner_is_trained_on_fresh_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_study, "LocalWorkers", Here)
    monkeypatch.setenv("GLOTUNE_CACHE", str(tmp_path / "cache"))
    resolved = resolve_study(load_study(write_study(tmp_path)))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    found = run_study.run_study(resolved, whole)
    with monkeypatch.context() as patched:
        patched.setattr(Here, "dies_in", "trial-0000")
        with pytest.raises(Killed):
            run_study.run_study(resolved, cut)
    assert [trial["state"] for trial in trials(cut)] == ["running"]
    run_study.run_study(resolved, cut)
    assert trials(cut) == trials(whole)
    assert read_search(cut / "search") == read_search(whole / "search")
    assert RunDirectory.open(cut / "search" / "runs" / "trial-0000").read_manifest().attempt == 2

    tried = read_trials(whole / "search")
    pruned = [trial for trial in tried if trial.state == "pruned"]
    assert pruned, "of four trials some are left early"
    for trial in pruned:
        run = RunDirectory.open(whole / "search" / "runs" / trial.name)
        assert run.read_manifest().status is RunStatus.PRUNED
        assert run.read_manifest().reason == f"pruned after epoch {trial.epochs:g} of 3"
        assert not run.checkpoints.exists()
    assert {rung.run for rung in read_rungs(whole / "search" / "rungs.jsonl")} >= {trial.name for trial in pruned}
    assert not any("test" in path.name for path in (whole / "search").rglob("*.parquet")), "no trial saw a test text"
    assert [run.name for run in found.plan.runs] == ["plain-seed0", "winner-seed0"]
    for run in found.plan.runs:
        done = RunDirectory.open(whole / "runs" / run.name)
        assert done.read_manifest().status is RunStatus.COMPLETE
        assert done.read_metrics()["test"]
    report = (whole / "report" / "report.md").read_text(encoding="utf-8")
    assert "never seen by the search" in report
    assert "4 trials" in report
    assert (whole / "report" / "figures" / "search.png").is_file()


def test_a_search_in_which_nothing_learns_says_so(tmp_path: Path) -> None:
    rates = {"optimizer.learning_rate": [1e-12, 2e-12]}
    path = write_study(tmp_path, space=rates, pruning="none")
    command = [sys.executable, "-m", "glotune.cli.main", "study", str(path), "--out", str(tmp_path / "none")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOTUNE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr[-3000:]
    assert "the search ended without one sound trial (2 trials: " in done.stderr
    assert "Traceback" not in done.stderr
