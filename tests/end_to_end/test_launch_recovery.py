"""A spot machine is taken away: the job starts again elsewhere with nothing but the bucket, and ends the same."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glotune.recipe import recipe_yaml
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from small_runs import small_recipe


def start(recipe: Path, run: Path, bucket: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "glotune.launch.job", "--recipe", str(recipe), "--run", str(run)]
    return subprocess.Popen(
        [*command, "--bucket", str(bucket), "--seconds", "0.2"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOTUNE_CACHE": str(bucket.parent / "cache")},
    )


def losses(run: Path) -> list[tuple[int, float, float]]:
    events = [event for event in RunDirectory(run).events() if event.kind == "step"]
    return [(event.step, event.data["loss"], event.data["grad_norm"]) for event in events]


@pytest.mark.extras
def test_a_job_that_is_killed_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe_yaml(small_recipe(tmp_path, rows=160, train__epochs=3, checkpoints__every=5)))
    whole = tmp_path / "whole"
    assert start(recipe, whole, tmp_path / "bucket-whole").wait(200) == 0

    bucket, first = tmp_path / "bucket", tmp_path / "first-machine" / "run"
    job = start(recipe, first, bucket)
    deadline = time.monotonic() + 120
    while not list((bucket / "checkpoints").glob("step-*/manifest.json")):
        assert job.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    shutil.rmtree(first.parent)

    second = tmp_path / "second-machine" / "run"
    assert start(recipe, second, bucket).wait(200) == 0
    manifest = RunDirectory(second).read_manifest()
    assert (manifest.status, manifest.attempt) == (RunStatus.COMPLETE, 2)
    assert losses(second) == losses(whole)
    model = "model/model.safetensors"
    assert (second / model).read_bytes() == (whole / model).read_bytes()
    assert RunDirectory(second).read_metrics() == RunDirectory(whole).read_metrics()
    assert (bucket / model).read_bytes() == (whole / model).read_bytes()
    assert start(recipe, second, bucket).wait(60) == 0, "a complete run is not trained again"
