"""Which validation texts choose the checkpoint, where a metric is undefined on some of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glotune import train
from glotune.data.reading import read_texts
from glotune.data.texts import TextData
from glotune.errors import UserError
from glotune.recipe.kinds import TaskName
from glotune.recipe.schema import Data, Evaluate
from glotune.stats.ratings import ratings
from glotune.tasks.monitoring import about_undecided, correlation, deciding_targets, refuse_unused_validation
from small_runs import score_recipe, sentences, write_csv

TRAIN = ["one,0,1,en,train", "two,1,0,en,train", "three,1,1,sw,train", "four,0,0,sw,train"]


def read(folder: Path, dev: list[str], task: TaskName = "score") -> TextData:
    path = folder / "a.csv"
    path.write_text("\n".join(["text,x,y,language,split", *TRAIN, *(f"dev {row},dev" for row in dev)]) + "\n")
    data = {"train": str(path), "columns": {"labels": ["x", "y"]}, "source_languages": ["en", "sw"]}
    return read_texts(Data.model_validate(data), 0, task)


@pytest.mark.parametrize("metric", ["pearson", "spearman", "kappa"])
def test_a_correlation_asks_for_scores_that_differ(tmp_path: Path, metric: str) -> None:
    texts = read(tmp_path, ["a,0,1,en", "b,1,1,en", "c,1,0,sw"])
    assert {name: places.tolist() for name, places in deciding_targets("source", metric, texts).items()} == {"en": [0]}
    said = about_undecided(Evaluate(metric=metric), texts)
    assert said is not None
    assert "in en (y), sw (all texts there have one score): the others choose the checkpoint" in said


@pytest.mark.parametrize("metric", ["loss", "rmse"])
def test_an_error_is_defined_by_any_score(tmp_path: Path, metric: str) -> None:
    texts = read(tmp_path, ["a,0,1,en", "b,1,1,en", "c,1,,sw"])
    found = {name: places.tolist() for name, places in deciding_targets("source", metric, texts).items()}
    assert found == {"en": [0, 1], "sw": [0]}
    assert about_undecided(Evaluate(metric=metric), texts) is None


def test_average_precision_asks_for_a_text_with_the_label(tmp_path: Path) -> None:
    texts, spec = (
        read(tmp_path, ["a,0,1,en", "b,0,0,en", "c,0,,sw"], "multi_label"),
        Evaluate(metric="average_precision"),
    )
    assert list(deciding_targets("source", spec.metric, texts)) == ["en"]
    assert "in en (x), sw (no text there has the label)" in (about_undecided(spec, texts) or "")
    assert about_undecided(Evaluate(metric="macro_f1"), texts) is None, "0 by convention"


def test_what_is_undefined_everywhere_is_refused(tmp_path: Path) -> None:
    texts = read(tmp_path, ["a,1,1,en", "b,1,1,en", "c,0,0,sw"])
    with pytest.raises(
        UserError, match=r"evaluate\.metric is pearson, which is undefined .* in en, sw: all texts there"
    ):
        refuse_unused_validation(Evaluate(metric="pearson"), texts)
    refuse_unused_validation(Evaluate(metric="mae"), texts)


def test_answers_that_are_all_one_number_go_with_nothing() -> None:
    truth = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]])
    known, alike = ratings(truth, truth), ratings(truth, np.full((3, 2), 0.5))
    for metric in ("pearson", "spearman"):
        assert correlation(known, metric, np.array([0])) == pytest.approx(1.0)
        assert correlation(alike, metric, np.array([0])) == 0.0
        assert known.values()[metric] is None, "what a report says stays undefined"


def test_one_text_of_a_language_leaves_the_choice_to_the_other(tmp_path: Path) -> None:
    recipe = score_recipe(
        tmp_path, train__epochs=4, evaluate__patience=2, average={"last": 2}, evaluate__baselines=False
    )
    rows = [{"text": row["text"], "funny": "40", "rude": "80"} for row in sentences("es", 9, 3)]
    one = {
        "data.train.es": str(tmp_path / "train.csv"),
        "data.validation.es": str(write_csv(tmp_path / "one.csv", rows)),
    }
    run = train(recipe, one, out=tmp_path / "run", report=False)
    assert run.manifest.best_step is not None
    assert run.manifest.averaged is not None
    (best, *_) = [event for event in run.directory.events() if event.kind == "best"]
    (own,) = [
        event.data["pearson"]
        for event in run.directory.events()
        if (event.step, event.key) == (best.step, "validation/en")
    ]
    assert best.data["value"] == pytest.approx(own)
    warned = [event.data["message"] for event in run.directory.events() if event.kind == "warning"]
    assert any(message.startswith("pearson is undefined on the validation texts in es") for message in warned)
    assert run.metrics["validation"]["es"]["pearson"] is None
