"""Annotators' votes, focal loss and tuned thresholds, from the recipe to the saved model, with a tiny encoder."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

import glotune
from glotune.data.reading import read_texts
from glotune.errors import UserError
from glotune.evidence.compare import compare_runs
from glotune.hub.card import model_card
from glotune.report import write_report
from glotune.run.data import load_run
from glotune.run.records import RunStatus
from glotune.stats.arrays import Outcomes
from glotune.stats.thresholds import answers_at, tune_thresholds
from glotune.verbs.calibrate import calibrate
from glotune.verbs.evaluate import evaluate
from glotune.verbs.lifecycle import Run
from small_runs import LABELS, votes_recipe

TEXTS = ["buena bonito", "mala sucia lenta", "lugar comida sala gente 3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("votes")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    recipe = votes_recipe(
        folder, rows=120, train__epochs=6, evaluate__test="each", loss__focal_gamma=1.0,
        evaluate__tune_thresholds="macro_f1",
    )  # fmt: skip
    return glotune.train(recipe, out=folder / "run", report=False)


def answered(run: Run, split: str, language: str) -> Outcomes:
    found = load_run(run.path).outcomes(split, language)
    assert isinstance(found, Outcomes)
    return found


def test_a_run_of_votes_is_a_classifiers(run: Run) -> None:
    manifest = run.manifest
    assert (manifest.status, manifest.task, manifest.labels) == (RunStatus.COMPLETE, "single_label", list(LABELS))
    assert manifest.verdict is not None
    assert manifest.verdict.is_sound, manifest.verdict.evidence
    assert manifest.decision is not None
    assert (manifest.decision.tuned_for, manifest.decision.fitted_on) == ("macro_f1", ["en"])


def test_its_own_validation_texts_are_judged_again_as_the_run_did(run: Run) -> None:
    again = {(each.split, each.language): each.scores for each in evaluate(run.path, name="own").evaluations}
    assert again["validation", "en"]["macro_f1"] == pytest.approx(run.metrics["validation"]["en"]["macro_f1"])


def test_records_hold_the_votes_and_the_scores_follow(run: Run) -> None:
    found, entry = answered(run, "test", "es"), run.metrics["test"]["es"]
    assert found.votes_BC is not None
    assert found.votes_BC.sum(axis=1).min() >= 3
    values = found.values()
    for name in ("loss", "accuracy", "js_distance", "agreement", "agreement_ceiling"):
        assert entry[name] == pytest.approx(values[name]), name
        assert name in entry["intervals"]
    stated = -(found.shares_BC * np.log(found.probabilities_BC)).sum(axis=1)
    assert found.loss_B == pytest.approx(stated, abs=1e-5), "the loss is cross-entropy against the distribution"


def test_thresholds_decide_on_test_texts_and_validation_is_cross_fitted(run: Run) -> None:
    assert run.manifest.decision is not None
    thresholds = np.array(run.manifest.decision.thresholds)
    test, validation = answered(run, "test", "es"), answered(run, "validation", "en")
    assert np.array_equal(test.prediction_B, answers_at(test.probabilities_BC, thresholds))
    assert (validation.prediction_B == answers_at(validation.probabilities_BC, thresholds)).mean() > 0.7


def test_the_saved_model_is_an_ordinary_classifier(run: Run) -> None:
    from transformers import pipeline

    config = json.loads((run.directory.model / "config.json").read_text())
    assert config["problem_type"] == "single_label_classification"
    assert list(config["thresholds"]) == list(LABELS)
    classify = pipeline("text-classification", model=str(run.directory.model), top_k=None)
    for text, ours in zip(TEXTS, glotune.load(run.path).predict(TEXTS), strict=True):
        theirs = {each["label"]: each["score"] for each in classify([text], truncation=True)[0]}
        assert ours.probabilities == pytest.approx(theirs, abs=1e-5)


def test_prediction_is_the_records_own(run: Run, folder: Path) -> None:
    recorded = answered(run, "test", "es")
    with (folder / "es.csv").open(encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    for place in (run.path, run.directory.model):
        labels = [each.label for each in glotune.load(place).predict(texts)]
        assert labels == [LABELS[number] for number in recorded.prediction_B]


def test_evaluating_the_saved_model_gives_the_same_scores(run: Run, folder: Path) -> None:
    (found,) = evaluate(run.path, {"es": str(folder / "es.csv")}, name="again").evaluations
    names = ("macro_f1", "loss", "js_distance", "agreement")
    assert {name: found.scores[name] for name in names} == pytest.approx(
        {name: run.metrics["test"]["es"][name] for name in names}, abs=1e-5
    )


def test_calibration_fits_the_distribution_and_leaves_the_answers(run: Run) -> None:
    with pytest.raises(UserError, match="fitted with the run"):
        calibrate(run.directory, "macro_f1")
    found = calibrate(run.directory)
    assert found.loss_before == pytest.approx(run.metrics["validation"]["en"]["loss"], abs=1e-6)
    before, after = (glotune.load(run.path, calibrated=each).predict(TEXTS) for each in (False, True))
    assert [each.label for each in before] == [each.label for each in after]
    run.directory.calibration.unlink()


@pytest.mark.extras
def test_the_report_tells_votes_and_both_ways_of_answering(run: Run) -> None:
    text = write_report(run.directory).markdown.read_text(encoding="utf-8")
    found = answered(run, "test", "es")
    assert "Jensen-Shannon distance" in text
    assert "Annotators' agreement" in text
    assert f"Of {found.num_texts} texts {found.tied} are tied" in text
    plain = 100 * float(found.by_probability().values()["macro_f1"] or 0.0)
    (row,) = (
        line for line in text.splitlines() if line.startswith("| Spanish") and "[" in line and line.count("|") > 12
    )
    assert row.rstrip(" |").endswith(f"{plain:.1f}"), "the last column is of the most probable class"
    assert "most probable class" in text
    assert "focal loss" in text
    page = (run.directory.report / "report.html").read_text(encoding="utf-8")
    assert "is answered whose probability is highest beside its threshold" in page
    stated = [float(value) for value in re.findall(r'"mostProbable":([\d.]+)', page)]
    assert pytest.approx(plain / 100, abs=1e-6) in stated
    card = str(model_card(run.directory))
    assert "highest beside its threshold" in card
    assert "votes" in card


@pytest.mark.extras
def test_runs_and_the_baseline_are_compared(run: Run, folder: Path) -> None:
    keys = {"train__epochs": 6, "evaluate__test": "each", "evaluate__tune_thresholds": "macro_f1"}
    other = glotune.train(votes_recipe(folder, rows=120, seed=1, **keys), out=folder / "other", report=False)
    assert compare_runs([run.directory, other.directory]).metric == "macro_f1"
    found = load_run(run.path).baselines
    assert found is not None
    gain, score = found.gain("test", ["es"]), found.score("tfidf", "test", "es")
    assert gain is not None
    assert score is not None
    assert gain.value == pytest.approx(run.metrics["test"]["es"]["macro_f1"] - float(score.scores["macro_f1"] or 0))
    assert float(score.scores["js_distance"] or 0) > 0


def test_folds_keep_the_votes(folder: Path, tmp_path: Path) -> None:
    from glotune.study.folds import fold_file

    recipe = votes_recipe(folder, rows=60)
    folds = fold_file(recipe, 3, 0, tmp_path)
    texts, whole = (read_texts(each.data, 0, each.task) for each in (folds.recipe(recipe, 1), recipe))
    assert texts.labels == whole.labels
    votes = {}
    for name, each in (("fold", texts), ("whole", whole)):
        votes[name] = {
            text: row
            for split in each.splits.values()
            for text, row in zip(split.table["text"].to_pylist(), split.votes.tolist(), strict=True)
        }
    assert votes["fold"].items() <= votes["whole"].items()


@pytest.mark.extras
def test_metrics_weigh_texts_where_the_recipe_says_so(folder: Path, tmp_path: Path) -> None:
    keys = {
        "data__columns__weight": "trust", "data__weighted_metrics": True, "evaluate__baselines": False,
        "evaluate__tune_thresholds": "macro_f1",
    }  # fmt: skip
    run = glotune.train(votes_recipe(folder, rows=60, **keys), out=tmp_path / "run", report=False)
    found = answered(run, "test", "es")
    right = found.prediction_B == found.label_B
    assert found.weight_B is not None
    assert run.metrics["test"]["es"]["accuracy"] == pytest.approx(np.average(right, weights=found.weight_B))
    text = write_report(run.directory).markdown.read_text(encoding="utf-8")
    assert run.manifest.decision is not None
    validation = answered(run, "validation", "en").by_probability()
    assert run.manifest.decision.thresholds == pytest.approx(tune_thresholds(validation, "macro_f1"), rel=1e-4)
    assert "Metrics, intervals and tuned thresholds weigh each text by the column 'trust'" in text
    assert "column trust, in the loss and in metrics" in text


def test_classifier_takes_votes(folder: Path) -> None:
    from small_runs import sentences

    rows = sentences("en", 60)
    votes = np.array([[3.0 * (row["label"] == label) + 1.0 for label in LABELS] for row in rows])
    keys = {"train__epochs": 10, "train__batch_size": 8, "optimizer__learning_rate": 3e-3, "evaluate__baselines": False}
    classifier = glotune.Classifier(votes_recipe(folder).model.name, **keys)
    classifier.fit([row["text"] for row in rows], votes, votes=True)
    assert classifier.classes_.tolist() == [0, 1, 2]
    predicted = classifier.predict([row["text"] for row in rows])
    assert (predicted == votes.argmax(axis=1)).mean() > 0.6
    # Nobody was sure: neither is the classifier.
    assert classifier.predict_proba([row["text"] for row in rows]).max() < 0.9
    with pytest.raises(UserError, match="at least two classes"):
        classifier.fit(["one", "two"], [[1.0], [2.0]], votes=True)
