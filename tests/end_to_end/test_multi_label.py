"""Several labels for each text, from the recipe to the saved model, with a tiny encoder."""

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
from glotune.recipe.kinds import KINDS
from glotune.report import write_report
from glotune.run.data import load_run
from glotune.run.records import RunStatus
from glotune.stats.label_sets import LabelSets
from glotune.verbs.calibrate import calibrate
from glotune.verbs.evaluate import evaluate
from glotune.verbs.lifecycle import Run
from glotune.verbs.predict import writer
from glotune.verbs.predict_inputs import Row
from small_runs import LABELS, multi_label_recipe, sentences, write_csv

TEXTS = ["buena bonito", "mala sucia lenta", "lugar comida sala gente 3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("multi_label")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    recipe = multi_label_recipe(folder, rows=120, train__epochs=6, evaluate__test="each")
    return glotune.train(recipe, out=folder / "run", report=False)


def test_a_run_says_what_it_is(run: Run) -> None:
    manifest = run.manifest
    assert (manifest.status, manifest.task, manifest.labels) == (RunStatus.COMPLETE, "multi_label", list(LABELS))
    assert manifest.decision is not None
    assert manifest.decision.fitted_on == ["en"]
    assert len(manifest.decision.thresholds) == 3
    assert manifest.verdict is not None
    assert manifest.verdict.is_sound, manifest.verdict.evidence


def test_records_hold_what_was_annotated_and_the_scores_follow(run: Run) -> None:
    found = load_run(run.path).outcomes("test", "es")
    assert isinstance(found, LabelSets)
    assert (found.label_BL[:, LABELS.index("plain")] == -1).all(), "Spanish texts are not annotated with it"
    entry = run.metrics["test"]["es"]
    assert entry["macro_f1"] == found.values()["macro_f1"]
    assert set(entry["per_class"]) == {"bad", "good"}
    assert {"macro_f1", "micro_f1", "samples_f1", "loss"} <= set(entry["intervals"])
    assert entry["confusion"] == []


def test_its_own_validation_texts_are_judged_again_as_the_run_did(run: Run) -> None:
    """They fitted the thresholds: answered by these they would look better than they are."""
    again = {(each.split, each.language): each.scores for each in evaluate(run.path, name="own").evaluations}
    assert ("validation", "en") in again
    for (split, language), scores in again.items():
        for metric in ("macro_f1", "micro_f1"):
            assert scores[metric] == pytest.approx(run.metrics[split][language][metric], abs=1e-9), (split, language)


def test_thresholds_decide_on_test_texts_and_validation_is_cross_fitted(run: Run) -> None:
    read = load_run(run.path)
    thresholds = np.array(run.manifest.decision.thresholds if run.manifest.decision else [])
    test, validation = read.outcomes("test", "es"), read.outcomes("validation", "en")
    assert isinstance(test, LabelSets)
    assert isinstance(validation, LabelSets)
    assert np.array_equal(test.answer_BL, test.probability_BL >= thresholds)
    assert (validation.answer_BL == (validation.probability_BL >= thresholds)).mean() > 0.7


def test_transformers_pipeline_gives_the_same_probabilities(run: Run) -> None:
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(run.directory.model), top_k=None)
    predictor = glotune.load(run.path)
    for text, ours in zip(TEXTS, predictor.predict(TEXTS), strict=True):
        theirs = {each["label"]: each["score"] for each in classify([text], truncation=True)[0]}
        assert ours.probabilities == pytest.approx(theirs, abs=1e-5)
    config = json.loads((run.directory.model / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert list(config["thresholds"]) == list(LABELS)


def test_prediction_is_the_records_own(run: Run, folder: Path) -> None:
    recorded = load_run(run.path).outcomes("test", "es")
    assert isinstance(recorded, LabelSets)
    with (folder / "es.csv").open(encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    for place in (run.path, run.directory.model):
        predictions = glotune.load(place).predict(texts)
        answers = [[label in (each.labels or []) for label in LABELS] for each in predictions]
        assert np.array_equal(np.array(answers), recorded.answer_BL)
        stated = np.array([list(each.probabilities.values()) for each in predictions])
        assert stated == pytest.approx(recorded.probability_BL, abs=1e-5)
    assert predictions[0].label is None


def test_predictions_as_lines_and_as_a_table(run: Run, tmp_path: Path) -> None:
    predictor = glotune.load(run.path)
    (prediction,) = predictor.predict(TEXTS[:1])
    for kind in ("jsonl", "csv"):
        with (tmp_path / kind).open("w", encoding="utf-8") as file:
            write = writer(file, kind, predictor.labels, False, predictor.kind.name)  # type: ignore[arg-type]
            write(Row(1, TEXTS[0]), prediction)
    line = json.loads((tmp_path / "jsonl").read_text())
    assert (line["labels"], line["probabilities"]) == (prediction.labels, prediction.probabilities)
    (row,) = csv.DictReader((tmp_path / "csv").read_text().splitlines())
    assert row["labels"] == "|".join(prediction.labels or [])
    assert float(row["probability_good"]) == prediction.probabilities["good"]


def test_evaluating_the_saved_model_gives_the_same_scores(run: Run, folder: Path) -> None:
    judged = evaluate(run.path, {"es": str(folder / "es.csv")}, name="again")
    (found,) = judged.evaluations
    stated = run.metrics["test"]["es"]
    assert {name: found.scores[name] for name in ("macro_f1", "micro_f1", "loss")} == pytest.approx(
        {name: stated[name] for name in ("macro_f1", "micro_f1", "loss")}, abs=1e-5
    )


def test_columns_in_another_order_or_fewer_of_them_are_judged_by_name(run: Run, folder: Path) -> None:
    labels = list(run.manifest.labels)
    again, turned, one = (
        evaluate(run.path, {"es": str(folder / "es.csv")}, keys=[f"data.columns.labels=[{', '.join(columns)}]"])
        for columns in (labels, labels[::-1], labels[:1])
    )
    (found,) = again.evaluations
    assert turned.evaluations[0].scores == found.scores
    assert one.evaluations[0].per_class[labels[0]] == found.per_class[labels[0]]
    assert one.evaluations[0].scores["macro_f1"] == pytest.approx(found.per_class[labels[0]]["f1"])


def test_a_run_on_one_column_of_labels_is_judged_on_a_column_for_each(folder: Path, tmp_path: Path) -> None:
    recipe = multi_label_recipe(tmp_path, train__epochs=1, evaluate__baselines=False)
    for name, language, count in (("train.csv", "en", 60), ("dev.csv", "en", 24), ("es.csv", "es", 30)):
        rows = [{**row, "label": f"{row['label']}|good"} for row in sentences(language, count)]
        write_csv(tmp_path / name, rows)
    one_column = {"data.columns.labels": None, "data.columns.delimiter": "|", "data.labels": list(LABELS)}
    run = glotune.train(recipe, one_column, out=tmp_path / "run", report=False)
    keys = {"data.columns.labels": list(LABELS)}
    (found,) = evaluate(run.path, {"es": str(folder / "es.csv")}, keys=keys).evaluations
    assert found.n == 30
    assert set(found.per_class) == {"bad", "good"}


def test_calibration_moves_probabilities_and_leaves_answers(run: Run) -> None:
    with pytest.raises(UserError, match="fitted with the run"):
        calibrate(run.directory, "macro_f1")
    found = calibrate(run.directory)
    assert found.threshold is None
    calibrated, plain = glotune.load(run.path, calibrated=True), glotune.load(run.path)
    before, after = plain.predict(TEXTS), calibrated.predict(TEXTS)
    assert [each.labels for each in before] == [each.labels for each in after]
    logits = np.log(plain.predict_proba(TEXTS)) - np.log1p(-plain.predict_proba(TEXTS))
    assert calibrated.predict_proba(TEXTS) == pytest.approx(1 / (1 + np.exp(-logits / found.temperature)), abs=1e-6)
    run.directory.calibration.unlink()


@pytest.mark.extras
def test_the_report_tells_labels(run: Run) -> None:
    files = write_report(run.directory)
    text = files.markdown.read_text(encoding="utf-8")
    drawn = {figure.name for figure in files.figures}
    assert {"label_scores", "error_cooccurrence", "roc_curve", "calibration", "dashboard"} <= drawn
    assert "confusion_matrix" not in drawn
    assert "confusion_matrix" not in text, "it is not missed either"
    assert "| Language | Label | Annotated | n |" in text
    assert "A label is answered from its own probability on (bad 0." in text
    page = files.page.read_text(encoding="utf-8")
    assert '"metric":"macro_f1"' in page
    card = str(model_card(run.directory))
    assert "Labels: bad, good, plain" in card
    assert "top_k=None" in card
    assert "thresholds in config.json" in card


def test_runs_are_compared_over_seeds(run: Run, folder: Path) -> None:
    recipe = multi_label_recipe(folder, rows=120, train__epochs=6, evaluate__test="each", seed=1)
    other = glotune.train(recipe, out=folder / "other", report=False)
    found = compare_runs([run.directory, other.directory])
    (variant,) = found.variants
    assert len(variant.runs) == 2
    assert found.metric == "macro_f1"


def test_baselines_are_answered_by_thresholds_of_their_own(run: Run) -> None:
    found = load_run(run.path).baselines
    assert found is not None
    assert (found.task, found.left_out) == ("multi_label", None)
    assert found.names()["majority"] == "Label frequencies"
    gain, score = found.gain("test", ["es"]), found.score("tfidf", "test", "es")
    assert gain is not None
    assert score is not None
    difference = run.metrics["test"]["es"]["macro_f1"] - float(score.scores["macro_f1"] or 0)
    assert gain.value == pytest.approx(difference)


def test_a_threshold_by_hand(folder: Path) -> None:
    recipe = multi_label_recipe(folder, rows=60, train__epochs=1, evaluate__threshold=0.5, evaluate__baselines=False)
    run = glotune.train(recipe, out=folder / "by_hand", report=False)
    assert run.manifest.decision is not None
    assert (run.manifest.decision.thresholds, run.manifest.decision.fitted_on) == ([0.5] * 3, [])
    found = load_run(run.path).outcomes("validation", "en")
    assert isinstance(found, LabelSets)
    assert np.array_equal(found.answer_BL, found.probability_BL >= 0.5)


def test_a_head_of_several_labels_is_kept_where_training_goes_on(run: Run, folder: Path) -> None:
    logged: list[str] = []

    class Listening:
        def log(self, line: str) -> None:
            logged.append(line)

        def progress(self, *_: object) -> None: ...

        def event(self, *_: object) -> None: ...

    keys = {"model__name": str(run.directory.model), "train__epochs": 1, "evaluate__baselines": False}
    recipe = multi_label_recipe(folder, rows=60, **keys)
    glotune.train(recipe, out=folder / "goes_on", report=False, observer=Listening())  # type: ignore[arg-type]
    assert any("classification head has these labels: kept" in line for line in logged)


def test_folds_keep_what_is_not_annotated(folder: Path, tmp_path: Path) -> None:
    from glotune.study.folds import fold_file

    recipe = multi_label_recipe(folder, rows=60)
    folds = fold_file(recipe, 3, 0, tmp_path)
    one = folds.recipe(recipe, 1)
    texts, whole = (read_texts(each.data, 0, each.task) for each in (one, recipe))
    assert texts.labels == whole.labels
    blanks = [int(np.isnan(each.targets[each.splits["test"].labels]).sum()) for each in (texts, whole)]  # type: ignore[index]
    assert blanks[0] > blanks[1], "those of the test language, and those of the held-out fold"


def test_classifier_takes_an_indicator_matrix(folder: Path, tmp_path: Path) -> None:
    from small_runs import sentences

    recipe = multi_label_recipe(folder)
    rows = sentences("en", 80)
    texts = [row["text"] for row in rows]
    labels = np.array([[float(row["label"] == label) for label in LABELS] for row in rows])
    labels[::7, 2] = np.nan
    keys = {"train__epochs": 3, "optimizer__learning_rate": 1e-3, "evaluate__baselines": False}
    classifier = glotune.Classifier(recipe.model.name, out=tmp_path, **keys).fit(texts, labels)
    assert classifier.classes_.tolist() == [0, 1, 2]
    predicted = classifier.predict(texts)
    assert predicted.shape == (80, 3)
    assert set(np.unique(predicted)) <= {0, 1}
    probabilities = classifier.predict_proba(texts)
    assert probabilities.shape == (80, 3)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    known = ~np.isnan(labels)
    assert (predicted == labels)[known].mean() > 0.6
    assert load_run(classifier.run_).manifest.task == "multi_label"


@pytest.mark.parametrize("metric", KINDS["multi_label"].choosable)
def test_every_metric_that_may_choose_the_checkpoint_is_followed(metric: str) -> None:
    assert metric in KINDS["multi_label"].followed
