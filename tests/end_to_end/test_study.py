"""Studies with real runs: folds from texts to claims; killed at any moment and continued to the same numbers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from glotune.evidence.equality import differences
from glotune.recipe import yaml
from glotune.run.data import load_run
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from small_runs import small_recipe


def write_study(folder: Path, **content: Any) -> Path:
    recipe = small_recipe(folder, rows=48, checkpoints__every=2).model_dump(mode="json", exclude={"name", "seed"})
    lora = {"model.lora": {"rank": 2, "alpha": 4}, "optimizer.learning_rate": 5e-3}
    claims = [
        {"name": "LoRA keeps up", "form": "non_inferior", "margin": 0.05, "variants": ["lora", "full"]},
        {
            "name": "LoRA trains fewer weights",
            "form": "superior",
            "metric": "trainable_parameters",
            "margin": 2,
            "variants": ["lora", "full"],
        },
    ]
    made = {"name": "made", "recipe": recipe, "variants": {"full": {}, "lora": lora}, "claims": claims, **content}
    path = folder / "made.yaml"
    path.write_text(yaml.dump(made))
    return path


def start(study: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "glotune.cli.main", "study", str(study), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOTUNE_CACHE": str(study.parent / "cache")}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> str:
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err.decode()[-3000:]
    return out.decode()


@pytest.mark.extras
def test_a_cross_validated_study_tests_every_text_once(tmp_path: Path) -> None:
    path = write_study(tmp_path, variants={"full": {}}, seeds=1, folds=2, claims=[])
    finish(start(path, "--out", str(tmp_path / "study"), "--jobs", "2"))
    pooled = RunDirectory.open(tmp_path / "study/out_of_fold/full-seed0")
    for written in (pooled, RunDirectory.open(tmp_path / "study/runs/full-seed0-fold1")):
        assert load_run(written).has_hashes
        assert load_run(written).altered == ()
    english = pq.read_table(pooled.predictions / "test.en.parquet")
    assert sorted(english["row"].to_pylist()) == list(range(1, 49))
    spanish = pq.read_table(pooled.predictions / "test.es.parquet")
    assert len(spanish) == len(set(spanish["row"].to_pylist())) == 30
    for fold in (1, 2):
        run = RunDirectory.open(tmp_path / f"study/runs/full-seed0-fold{fold}")
        assert run.read_manifest().status is RunStatus.COMPLETE
        own = pq.read_table(run.predictions / "test.en.parquet").sort_by("row")
        both = english.filter(np.isin(english["row"].to_numpy(), own["row"].to_numpy())).sort_by("row")
        assert both["probabilities"].to_pylist() == own["probabilities"].to_pylist()
    results = [json.loads(line) for line in (tmp_path / "study/results.jsonl").read_text().splitlines()]
    assert len(results) == 2
    for result in results:
        assert 0 < result["peak_memory_bytes"] < result["process_peak_bytes"]
        assert 0 < result["train_seconds"] < result["total_seconds"]
    assert (tmp_path / "study/report/report.html").is_file()


@pytest.mark.extras
def test_a_study_killed_twice_ends_in_the_same_numbers(tmp_path: Path) -> None:
    path = write_study(tmp_path, seeds=1)
    finish(start(path, "--out", str(tmp_path / "whole")))
    killed = tmp_path / "killed"
    for moment in ("runs/full-seed0/checkpoints/step-*", "runs/lora-seed0/checkpoints/step-*"):
        process = start(path, "--out", str(killed))
        deadline = time.monotonic() + 120
        while not any(killed.glob(moment)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert "LoRA keeps up" in finish(start(killed))
    for name in ("full-seed0", "lora-seed0"):
        one, other = (RunDirectory.open(folder / "runs" / name) for folder in (tmp_path / "whole", killed))
        assert differences(one, other) == []
    lines = [json.loads(line) for line in (killed / "results.jsonl").read_text().splitlines()]
    assert len({line["run"] for line in lines}) == len(lines) == 2, "no run is finished twice"
    assert max(line["attempt"] for line in lines) >= 2, "a run was cut off and continued"
