"""A study that searches, with real trials: killed and continued to the same ones, the winner judged on fresh seeds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from glotune.recipe import yaml
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from glotune.run.trials import read_rungs, read_search, read_trials
from small_runs import sentences, small_recipe, write_csv

pytest.importorskip("optuna", reason="needs glotune[search]")
pytestmark = pytest.mark.extras


def write_study(folder: Path, **search: Any) -> Path:
    recipe = small_recipe(folder, rows=48, train__epochs=3).model_dump(mode="json", exclude={"name", "seed"})
    recipe["data"]["test"]["en"] = str(write_csv(folder / "en.csv", sentences("en", 30, 3)))
    space = {"optimizer.learning_rate": {"low": 1e-6, "high": 1e-2, "log": True}, "train.batch_size": [8, 16]}
    made = {"space": space, "budget": {"runs": 4}, **search}
    path = folder / "made.yaml"
    path.write_text(yaml.dump({"name": "made", "recipe": recipe, "search": made, "seeds": 1}))
    return path


def start(study: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "glotune.cli.main", "study", str(study), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOTUNE_CACHE": str(study.parent / "cache")}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes], code: int = 0) -> str:
    out, err = process.communicate(timeout=280)
    assert process.returncode == code, err.decode()[-3000:]
    return (out + err).decode()


def trials(folder: Path) -> list[dict[str, Any]]:
    timed = {"seconds", "elapsed"}
    return [trial.model_dump(exclude=timed) for trial in read_trials(folder / "search")]


def test_a_killed_search_tries_the_same_and_its_winner_is_trained_on_fresh_seeds(tmp_path: Path) -> None:
    path, whole, killed = write_study(tmp_path), tmp_path / "whole", tmp_path / "killed"
    told = finish(start(path, "--out", str(whole)))
    assert "Best of 4 trials" in told
    process, deadline = start(path, "--out", str(killed)), time.monotonic() + 120
    while not any(killed.glob("search/runs/trial-0001/checkpoints/step-*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finish(start(killed))
    assert trials(killed) == trials(whole)
    assert read_search(killed / "search") == read_search(whole / "search")
    lines = [json.loads(line) for line in (killed / "search" / "results.jsonl").read_text().splitlines()]
    assert len({line["run"] for line in lines}) == len(lines) == 4, "no trial is finished twice"

    found = read_trials(whole / "search")
    pruned = [trial for trial in found if trial.state == "pruned"]
    assert pruned, "of four trials some are left early"
    for trial in pruned:
        run = RunDirectory.open(whole / "search" / "runs" / trial.name)
        assert run.read_manifest().status is RunStatus.PRUNED
        assert run.read_manifest().reason == f"pruned after epoch {trial.epochs:g} of 3"
        assert not run.checkpoints.exists()
    assert {rung.run for rung in read_rungs(whole / "search" / "rungs.jsonl")} >= {trial.name for trial in pruned}
    record = read_search(whole / "search")
    assert record is not None
    assert record.winner is not None
    for name in ("plain-seed0", "winner-seed0"):
        run = RunDirectory.open(whole / "runs" / name)
        assert run.read_manifest().status is RunStatus.COMPLETE
        assert run.read_metrics()["test"]
    assert not any("test" in path.name for path in (whole / "search").rglob("*.parquet")), "no trial saw a test text"
    report = (whole / "report" / "report.md").read_text(encoding="utf-8")
    assert "never seen by the search" in report
    assert "4 trials" in report
    assert (whole / "report" / "figures" / "search.png").is_file()


def test_a_search_in_which_nothing_learns_says_so(tmp_path: Path) -> None:
    rates = {"optimizer.learning_rate": [1e-12, 2e-12]}
    told = finish(start(write_study(tmp_path, space=rates, pruning="none"), "--out", str(tmp_path / "none")), code=2)
    assert "the search ended without one sound trial (2 trials: " in told
