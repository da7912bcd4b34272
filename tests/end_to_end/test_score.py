"""Scores, from the recipe to the saved model, with a tiny encoder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import glotune
from glotune.data.reading import read_texts
from glotune.errors import UserError
from glotune.evidence.compare import compare_runs
from glotune.hub.card import model_card
from glotune.recipe import Recipe, load_recipe
from glotune.recipe.schema import Data
from glotune.report import write_report
from glotune.report.page import mistakes
from glotune.run.data import load_run
from glotune.run.records import RunStatus
from glotune.stats.ratings import Ratings
from glotune.verbs.calibrate import calibrate
from glotune.verbs.evaluate import evaluate
from glotune.verbs.lifecycle import Run
from small_runs import score_recipe

TEXTS = ["buena bonito", "mala sucia lenta", "lugar comida sala gente 3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("score")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    recipe = score_recipe(folder, rows=120, train__epochs=6, data__levels=[0, 40, 80, 100])
    return glotune.train(recipe, out=folder / "run", report=False)


def test_a_run_says_what_it_is(run: Run) -> None:
    manifest = run.manifest
    assert (manifest.status, manifest.task, manifest.labels) == (RunStatus.COMPLETE, "score", ["funny", "rude"])
    assert manifest.decision is not None
    assert len(manifest.decision.means) == 2
    assert manifest.verdict is not None
    assert manifest.verdict.is_sound, manifest.verdict.evidence


def test_the_page_shows_the_worst_texts_and_no_others(run: Run) -> None:
    table = load_run(run.path).predictions("test", "es")
    assert table is not None
    shown = mistakes("es", table, 3, run.manifest.labels)
    wrong = table.loss_B[table.is_wrong_B]
    assert len(wrong) > 3
    assert sorted(row[5] for row in shown) == pytest.approx(np.sort(wrong)[-3:], abs=1e-4)


def test_records_hold_scores_in_their_own_units(run: Run) -> None:
    found = load_run(run.path).outcomes("test", "es")
    assert isinstance(found, Ratings)
    assert found.levels == (0, 40, 80, 100)
    assert np.isin(found.truth_BL[~np.isnan(found.truth_BL)], found.levels).all()
    assert np.isnan(found.truth_BL).any(), "some scores are missing"
    entry = run.metrics["test"]["es"]
    for name in ("pearson", "spearman", "kappa", "rmse", "mae", "loss"):
        assert entry[name] == found.values()[name]
        assert name in entry["intervals"]
    assert set(entry["per_class"]) == {"funny", "rude"}


def test_transformers_pipeline_gives_the_same_scores(run: Run) -> None:
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(run.directory.model), top_k=None)
    for text, ours in zip(TEXTS, glotune.load(run.path).predict(TEXTS), strict=True):
        theirs = {each["label"]: each["score"] for each in classify([text], truncation=True)[0]}
        assert ours.scores == pytest.approx(theirs, abs=1e-3)
        assert ours.label is None
    assert json.loads((run.directory.model / "config.json").read_text())["problem_type"] == "regression"


def test_prediction_and_evaluation_are_the_records_own(run: Run, folder: Path) -> None:
    recorded = load_run(run.path).outcomes("test", "es")
    assert isinstance(recorded, Ratings)
    with (folder / "es.csv").open(encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    stated = np.array([list((each.scores or {}).values()) for each in glotune.load(run.directory.model).predict(texts)])
    assert stated == pytest.approx(recorded.answer_BL, abs=1e-3)
    (found,) = evaluate(run.path, {"es": str(folder / "es.csv")}, name="again").evaluations
    names = ("pearson", "rmse", "loss")
    assert {name: found.scores[name] for name in names} == pytest.approx(
        {name: run.metrics["test"]["es"][name] for name in names}, abs=1e-4
    )


def test_columns_in_another_order_or_fewer_of_them_are_judged_by_name(run: Run, folder: Path) -> None:
    again, turned, one = (
        evaluate(run.path, {"es": str(folder / "es.csv")}, keys=[f"data.columns.labels={columns}"]).evaluations[0]
        for columns in ("[funny, rude]", "[rude, funny]", "[rude]")
    )
    assert turned.scores == again.scores
    assert set(one.per_class) == {"rude"}
    assert one.per_class["rude"] == pytest.approx(again.per_class["rude"])


@pytest.mark.extras
def test_the_report_tells_scores(run: Run) -> None:
    files = write_report(run.directory)
    text = files.markdown.read_text(encoding="utf-8")
    drawn = {figure.name for figure in files.figures}
    assert {"score_scatter", "residuals", "losses", "dashboard"} <= drawn
    assert not drawn & {"confusion_matrix", "roc_curve", "calibration", "label_scores"}
    assert "roc_curve" not in text, "it is not missed either"
    assert "Pearson's r" in text
    assert "Mean score, Pearson's r" in text
    assert "Scores: funny, rude" in str(model_card(run.directory))


def test_scores_have_no_confidence_to_calibrate(run: Run) -> None:
    with pytest.raises(UserError, match="no probability"):
        calibrate(run.directory)


def test_runs_are_compared_by_pearson(run: Run, folder: Path) -> None:
    recipe = score_recipe(folder, rows=120, train__epochs=6, data__levels=[0, 40, 80, 100], seed=1)
    other = glotune.train(recipe, out=folder / "other", report=False)
    assert compare_runs([run.directory, other.directory]).metric == "pearson"


def test_the_metric_of_scores_is_pearson_where_none_is_named() -> None:
    keys = {"name": "a", "task": "score", "model": {"name": "b"}, "data": {"train": "c.csv"}}
    assert Recipe.model_validate(keys).evaluate.metric == "pearson"
    assert Recipe.model_validate({**keys, "evaluate": {"metric": "rmse"}}).evaluate.metric == "rmse"
    with pytest.raises(UserError, match=r"loss\.label_smoothing is for the task single_label or multi_label"):
        load_recipe(Recipe.model_validate(keys), {"loss.label_smoothing": 0.1})


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("nan", "the score 'nan'"),
        ("inf", "the score 'inf'"),
        ("1e999", "the score '1e999'"),
        ("good", "the score 'good'"),
        ("2.5", "the score 2.5"),
    ],
)
def test_what_is_no_score(tmp_path: Path, cell: str, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"text,label,split\none,1,train\ntwo,2,train\nthree,{cell},train\nfour,1,dev\n")
    data = Data(train=str(path), source_languages=["en"], levels=[0, 1, 2])
    with pytest.raises(UserError) as caught:
        read_texts(data, 0, "score")
    assert said in str(caught.value)
    assert "a.csv, row 3" in str(caught.value)


def test_one_distinct_score(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label,split\none,3,train\ntwo,3,train\nfour,1,dev\n")
    with pytest.raises(UserError, match="all 2 training rows have the score 3 in 'label'"):
        read_texts(Data(train=str(path), source_languages=["en"]), 0, "score")


@pytest.mark.extras
def test_classifier_takes_scores(folder: Path) -> None:
    from small_runs import sentences

    rows = sentences("en", 80)
    texts = [row["text"] for row in rows]
    scores = np.array([{"bad": 0.0, "plain": 4.0, "good": 10.0}[row["label"]] for row in rows])
    keys = {"train__epochs": 12, "train__batch_size": 8, "optimizer__learning_rate": 3e-3, "evaluate__baselines": False}
    classifier = glotune.Classifier(score_recipe(folder).model.name, task="score", **keys).fit(texts, scores)
    predicted = classifier.predict(texts)
    assert predicted.shape == (80,)
    assert np.corrcoef(predicted, scores)[0, 1] > 0.5
    assert classifier.score(texts, scores) > 0.1
    with pytest.raises(UserError, match="answers scores"):
        classifier.predict_proba(texts)
