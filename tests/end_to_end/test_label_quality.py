"""`glotune data check --labels` over a study with folds, and over runs of other tasks."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from glotune.cli.main import run as glotune_command
from glotune.recipe import yaml
from glotune.stats.confident import confident_learning
from glotune.verbs.train import train
from small_runs import multi_label_recipe, score_recipe, sentences, small_recipe, write_csv


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        glotune_command(list(arguments))
    return int(ended.value.code or 0)


@pytest.mark.extras
def test_a_study_with_folds_names_the_rows_of_the_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = small_recipe(tmp_path)
    rows = sentences("en", 60)
    source = write_csv(tmp_path / "noisy.csv", rows)
    study = {
        "name": "folds",
        "recipe": {
            "model": {"name": recipe.model.name},
            "data": {"train": {"en": str(source)}, "max_length": 32},
            "optimizer": {"learning_rate": 3e-3},
            "train": {"epochs": 4, "batch_size": 8, "precision": "fp32", "device": "cpu"},
        },
        "variants": {"plain": {}},
        "seeds": [0],
        "folds": 2,
    }
    (tmp_path / "study.yaml").write_text(yaml.dump(study))
    assert call("study", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "study")) == 0
    table, page = tmp_path / "errors.csv", tmp_path / "errors.html"
    assert call("data", "check", str(tmp_path / "study"), "--labels", "--out", str(table), "--page", str(page)) == 0
    with table.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    for row in found:
        assert row["file"] == str(source)
        assert rows[int(row["row"]) - 1]["text"] == row["text"]
        assert rows[int(row["row"]) - 1]["label"] == row["label"]
    (place,) = (tmp_path / "study" / "out_of_fold").iterdir()
    records = pq.read_table(place / "predictions" / "test.en.parquet")
    chances = np.array(records["probabilities"].to_pylist(), np.float64)
    errors = confident_learning(records["label"].to_numpy(), chances).errors
    assert sorted(row["text"] for row in found) == sorted(records["text"].take(errors).to_pylist())
    assert found, "a model this small is unsure of much, and sure of something wrong"
    assert "every text was predicted by a model that was not trained on it" in capsys.readouterr().out
    assert page.read_text(encoding="utf-8").count("noisy.csv, row") == len(found)


@pytest.mark.extras
def test_several_labels_are_asked_one_by_one_and_scores_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(multi_label_recipe(tmp_path), out=tmp_path / "labels", report=False)
    assert call("data", "check", str(run.path), "--labels", "--out", str(tmp_path / "errors.csv")) == 0
    said = capsys.readouterr().out
    assert "held-out texts only" in said
    with (tmp_path / "errors.csv").open(newline="", encoding="utf-8") as file:
        pairs = {(row["label"], row["likely"]) for row in csv.DictReader(file)}
    assert all(a.removeprefix("not ") == b.removeprefix("not ") and a != b for a, b in pairs)
    scored = train(score_recipe(tmp_path / "labels"), out=tmp_path / "scores", report=False)
    assert call("data", "check", str(scored.path), "--labels") == 2
    assert "answers scores" in capsys.readouterr().err


def test_what_labels_cannot_be_checked_in_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--labels"], ["--out", "errors.csv"], ["--labels", "--strict"]):
        assert call("data", "check", str(tmp_path), *arguments) == 2
    (tmp_path / "study.yaml").write_text("name: none")
    assert call("data", "check", str(tmp_path), "--labels") == 2
    assert "no out-of-fold predictions" in capsys.readouterr().err
