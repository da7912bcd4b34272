"""The quickstart as a newcomer meets it: one command, offline, from the embedded encoder to a model that opens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = "import sys; sys.argv[0] = 'glotune'; from glotune.cli.main import run; run()"


def quickstart(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "GLOTUNE_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "quickstart", *arguments],
        cwd=place, env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart")
    done = quickstart(folder)
    assert done.returncode == 0, done.stderr
    (folder / "shown.txt").write_text(done.stdout)
    return folder


def beating_majority(run: Path) -> list[str]:
    """Target languages whose accuracy interval lies above their majority share."""
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    assert len(metrics) >= 7
    found = []
    for language, scores in metrics.items():
        majority = max(sum(row) for row in scores["confusion"]) / scores["n"]
        if language != "en" and scores["intervals"]["accuracy"]["low"] > majority:
            found.append(language)
    return found


def test_target_languages_beat_their_majority_class_beyond_the_interval(place: Path) -> None:
    assert len(beating_majority(place / "runs" / "quickstart")) >= 3


def test_a_random_encoder_of_the_same_shape_transfers_nothing(tmp_path: Path) -> None:
    from benchmarks.transfer import random_twin

    import glotune
    from glotune.nano import nano_path

    twin = random_twin(nano_path(), tmp_path / "twin", seed=0)
    run = glotune.train("quickstart", out=tmp_path / "run", model__name=str(twin))
    assert len(beating_majority(run.path)) < 3


def test_it_ends_in_the_table_and_the_paths(place: Path) -> None:
    shown = (place / "shown.txt").read_text()
    assert "en (source)" in shown
    assert "95 % interval" in shown
    assert "Verdict: " in shown
    for file in ("model/config.json", "report/report.html", "predictions/test.bn.parquet", "manifest.json"):
        assert (place / "runs" / "quickstart" / file).exists(), file


def test_its_model_opens_in_the_pipeline(place: Path) -> None:
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(place / "runs" / "quickstart" / "model"))
    assert classify("I really love this song.")[0]["label"] == "positive"


def test_called_again_it_shows_the_same_run_at_once(place: Path) -> None:
    before = (place / "runs" / "quickstart" / "manifest.json").read_bytes()
    started = time.monotonic()
    again = quickstart(place)
    assert time.monotonic() - started < 60
    assert again.returncode == 0
    assert again.stdout == (place / "shown.txt").read_text()
    assert "is complete; this is its result" in again.stderr
    assert (place / "runs" / "quickstart" / "manifest.json").read_bytes() == before
