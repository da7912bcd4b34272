"""Cheap models beside a run: what is written, what follows from it, and that the run itself is none the wiser."""

import csv
import json

import numpy as np
import pytest

from glotune import train
from glotune.data.reading import read_texts
from glotune.errors import UserError
from glotune.evidence.judgement import beside_baselines
from glotune.report.baselines import gains, in_short, not_shown_better
from glotune.report.content import gather
from glotune.report.markdown import render_markdown
from glotune.run.baselines import read_baselines
from glotune.run.data import load_run
from glotune.run.predictions import read_predictions
from glotune.run.records import Interval
from glotune.stats.scores import score_outcomes
from glotune.tasks import baselines as module
from glotune.tasks.baselines import record_baselines
from small_runs import score_recipe, small_recipe, write_csv


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("baselines")
    recipe = small_recipe(folder, rows=90, train__epochs=1)
    return train(recipe, out=folder / "run", report=False), recipe, folder


def again(run, recipe, **keys):
    """The baselines of the same texts, fitted once more beside the run."""
    logged = []
    changed = recipe.model_copy(update=keys)
    record_baselines(run.directory, changed, read_texts(changed.data, changed.seed), logged.append)
    return read_baselines(run.directory), logged


def timeless(found):
    return found.model_dump(exclude={"wall"})


def test_scores_follow_from_the_records_that_are_kept(run):
    found = read_baselines(run[0].directory)
    for language, split in (("en", "validation"), ("es", "test")):
        kept = read_predictions(run[0].directory.baselines / "tfidf" / f"{split}.{language}.parquet")
        assert found.score("tfidf", split, language).scores["macro_f1"] == score_outcomes(kept.outcomes).macro_f1
        own = read_predictions(run[0].directory.predictions / f"{split}.{language}.parquet")
        gain = found.gain(split, [language])
        assert gain.value == pytest.approx(
            score_outcomes(own.outcomes).macro_f1 - score_outcomes(kept.outcomes).macro_f1
        )
        assert gain.interval.low <= gain.value <= gain.interval.high
    assert found.texts == 90


def test_words_that_decide_the_label_are_learned_and_the_majority_is_the_training_texts(run):
    found = read_baselines(run[0].directory)
    assert found.score("tfidf", "validation", "en").scores["macro_f1"] > 0.7  # words of all labels are mixed in
    majority = found.score("majority", "validation", "en")
    assert np.count_nonzero(np.asarray(majority.confusion).sum(axis=0)) == 1
    assert np.asarray(majority.confusion).sum(axis=0)[0] == majority.n  # 'bad' is the most frequent


def test_the_same_texts_give_the_same_baselines(run):
    before = read_baselines(run[0].directory)
    after, _ = again(run[0], run[1])
    assert timeless(after) == timeless(before)


def test_the_run_is_the_same_with_and_without(run, tmp_path):
    done, recipe, _ = run
    without = train(recipe, evaluate__baselines=False, out=tmp_path / "without", report=False)
    assert not without.directory.baselines.exists()
    for name in ("model/model.safetensors", "predictions/test.es.parquet", "metrics.json"):
        assert (done.path / name).read_bytes() == (without.path / name).read_bytes()
    assert done.manifest.recipe_hash == without.manifest.recipe_hash
    assert load_run(done.directory).variant == load_run(without.directory).variant


def test_the_report_and_the_terminal_show_them(run):
    data = load_run(run[0].directory)
    content = gather(data)
    assert [row[0] for row in content.baselines.rows] == ["Spanish (es)"]
    text = render_markdown(content, [])
    assert "## Beside cheap models" in text
    gain = read_baselines(run[0].directory).gain("test", ["es"])
    assert gains(data)["es"] == pytest.approx([100 * gain.value, 100 * gain.interval.low, 100 * gain.interval.high])
    assert "| Language | n | Majority class, macro-F1 % | TF-IDF, macro-F1 % | This run, macro-F1 % |" in text
    found = read_baselines(run[0].directory)
    assert in_short(found, "test", ["en"], ["es"]).startswith("TF-IDF with logistic regression: 0.")


def test_a_run_that_is_not_shown_to_be_better_says_so(run):
    found = read_baselines(run[0].directory)
    assert found.gain("validation", ["en"]).interval.low <= 0  # one epoch of a random encoder
    sentence = not_shown_better(found, "validation", ["en"])
    assert sentence.startswith("en: ")
    assert sentence in beside_baselines(run[0].directory, ["en"])
    better = found.model_copy(
        update={"gains": [each.model_copy(update={"interval": Interval(low=0.1, high=0.2)}) for each in found.gains]}
    )
    assert not_shown_better(better, "validation", ["en"]) is None


def test_changed_records_are_no_baselines(run):
    path = run[0].directory.baselines / "tfidf" / "test.es.parquet"
    content = path.read_bytes()
    try:
        path.write_bytes((run[0].directory.predictions / "test.es.parquet").read_bytes())
        with pytest.raises(UserError, match="is not what the run wrote"):
            read_baselines(run[0].directory)
        data = load_run(run[0].directory)
        assert data.baselines is None
        assert any("is not what the run wrote" in problem for problem in data.problems)
    finally:
        path.write_bytes(content)


def test_many_characters_are_left_alone_and_it_is_said(run, monkeypatch):
    monkeypatch.setattr(module, "MOST_CHARACTERS", 1000)
    try:
        found, logged = again(run[0], run[1])
        assert "more than the 1,000" in found.left_out
        assert logged[0].startswith("baselines left out: ")
        assert gather(load_run(run[0].directory)).baselines_note.startswith("Left out: the texts have")
    finally:
        monkeypatch.undo()
        again(run[0], run[1])


def test_what_can_not_be_fitted_harms_no_run(run, monkeypatch):
    def fail(*_):
        raise ValueError("empty vocabulary")

    monkeypatch.setattr(module, "_tfidf", fail)
    try:
        found, _ = again(run[0], run[1])
        assert found.left_out == "they could not be fitted (empty vocabulary)"
    finally:
        monkeypatch.undo()
        again(run[0], run[1])


def test_a_broken_file_is_named_and_old_runs_have_none(run):
    path = run[0].directory.baselines / "baselines.json"
    content = path.read_text()
    try:
        path.write_text(json.dumps({"texts": "many"}))
        with pytest.raises(UserError, match="can't be read as baselines"):
            read_baselines(run[0].directory)
        path.unlink()
        assert read_baselines(run[0].directory) is None
    finally:
        path.write_text(content)


def test_pairs_and_class_weights_are_used(tmp_path):
    recipe = small_recipe(tmp_path, rows=60, pairs=True, train__epochs=1, loss__class_weights="balanced")
    found = read_baselines(train(recipe, out=tmp_path / "run", report=False).directory)
    assert found.left_out is None
    assert found.score("tfidf", "validation", "en").scores["macro_f1"] > 0.8


def test_a_language_whose_texts_have_one_score_costs_the_others_nothing(tmp_path):
    recipe = score_recipe(tmp_path, **{"train.epochs": 1})
    test = tmp_path / "es.csv"
    rows = list(csv.DictReader(test.open(encoding="utf-8", newline="")))
    write_csv(test, [{**row, "funny": "40", "rude": "80"} for row in rows])
    found = read_baselines(train(recipe, out=tmp_path / "run", report=False).directory)
    assert found.left_out is None
    assert found.gain("validation", ["en"]) is not None
    assert found.gain("test", ["es"]) is None, "a correlation with one score is undefined"
    assert found.score("tfidf", "test", "es").scores["rmse"] is not None
