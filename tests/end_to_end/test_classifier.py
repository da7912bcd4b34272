"""The classifier in scikit-learn's hands."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

import glotune
from encoders import make_encoder
from glotune.errors import UserError
from glotune.recipe import load_recipe
from glotune.run.directory import RunDirectory
from small_runs import WORDS, sentences

KEYS = {"train__epochs": 2, "train__batch_size": 16, "train__precision": "fp32", "optimizer__learning_rate": 1e-3}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    texts = [row["text"] for language in WORDS for row in sentences(language, 40)]
    return str(make_encoder(tmp_path_factory.mktemp("encoder") / "tiny", texts=texts))


@pytest.fixture(scope="module")
def rows() -> tuple[list[str], list[str]]:
    made = sentences("en", 60)
    return [row["text"] for row in made], [row["label"] for row in made]


def test_fit_predict_score(encoder: str, rows: tuple[list[str], list[str]]) -> None:
    texts, labels = rows
    fitted = glotune.Classifier(encoder, **KEYS).fit(texts, labels)
    probabilities = fitted.predict_proba(texts)
    assert fitted.classes_.tolist() == sorted(set(labels))
    assert probabilities.shape == (60, 3)
    assert np.allclose(probabilities.sum(axis=1), 1)
    predicted = fitted.predict(texts)
    assert (predicted == fitted.classes_[probabilities.argmax(axis=1)]).all()
    assert fitted.score(texts, labels) == (predicted == np.array(labels)).mean()
    again = clone(fitted).fit(texts, labels)
    assert np.array_equal(again.predict_proba(texts), probabilities)


def test_labels_keep_their_type(encoder: str, tmp_path: Path) -> None:
    made = sentences("en", 40)
    labels = [row["label"] == "good" for row in made]
    fitted = glotune.Classifier(encoder, out=tmp_path / "run", **KEYS).fit([row["text"] for row in made], labels)
    assert fitted.classes_.dtype == bool
    assert fitted.predict([made[0]["text"]]).dtype == bool
    assert repr(fitted).endswith("labels=[False, True], device='cpu')")
    assert repr(glotune.load(fitted.run_)) == ("Predictor(labels=['False', 'True'], device='cpu', precision='fp32')")
    assert glotune.load(fitted.run_).labels == ["False", "True"]
    assert Path(fitted.run_).parent == tmp_path / "run", "each fit in a subfolder of its own"


def test_pairs(encoder: str) -> None:
    made = sentences("en", 40, pairs=True)
    pairs = [(row["text"], row["text_pair"]) for row in made]
    fitted = glotune.Classifier(encoder, **KEYS).fit(pairs, [row["label"] for row in made])
    assert fitted.predict(pairs[:3]).shape == (3,)
    with pytest.raises(UserError, match="a single text for a model of text pairs"):
        fitted.predict(["alone"])


def test_cross_validation(encoder: str, rows: tuple[list[str], list[str]]) -> None:
    classifier = glotune.Classifier(encoder, **{**KEYS, "train__epochs": 1})
    scores = cross_val_score(classifier, np.array(rows[0]), rows[1], cv=2, error_score="raise")
    assert scores.shape == (2,)
    assert is_classifier(classifier)


@pytest.mark.extras
def test_a_fitted_classifier_is_pickled_with_its_model(
    encoder: str, rows: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    texts, labels = rows
    fitted = glotune.Classifier(encoder, **KEYS).fit(texts, labels)
    expected, place = fitted.predict_proba(texts), Path(fitted.run_)
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    joblib.dump(texts, tmp_path / "texts.joblib")
    copied = pickle.loads(pickle.dumps(fitted))
    del fitted
    gc.collect()
    assert not place.exists(), "a temporary run goes with its object"
    assert np.array_equal(copied.predict_proba(texts), expected), "and its copy has a model of its own"
    assert np.array_equal(copy.deepcopy(copied).predict_proba(texts), expected)
    script = (
        "import joblib, numpy; fitted = joblib.load('fitted.joblib'); texts = joblib.load('texts.joblib');"
        "numpy.save('found.npy', fitted.predict_proba(texts)); print(fitted.classes_.tolist(), fitted.get_params())"
    )
    there = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert there.stdout.startswith("['bad', 'good', 'plain'] {'encoder'")
    assert np.load(tmp_path / "found.npy") == pytest.approx(expected, abs=1e-6)


def test_an_unpickled_classifier_uses_the_run_that_out_keeps(
    encoder: str, rows: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    fitted = glotune.Classifier(encoder, out=tmp_path / "runs", **KEYS).fit(*rows)
    stored, expected = pickle.dumps(fitted), fitted.predict_proba(rows[0])
    assert pickle.loads(stored).run_ == fitted.run_
    shutil.rmtree(tmp_path / "runs")
    elsewhere = pickle.loads(stored)
    assert elsewhere.run_ != fitted.run_
    assert np.array_equal(elsewhere.predict_proba(rows[0]), expected)


@pytest.mark.extras
def test_a_search_with_out_keeps_every_run(encoder: str, rows: tuple[list[str], list[str]], tmp_path: Path) -> None:
    classifier = glotune.Classifier(encoder, out=tmp_path / "search", **{**KEYS, "train__epochs": 1})
    grid = {"optimizer__learning_rate": [1e-4, 1e-3]}
    search = GridSearchCV(classifier, grid, cv=2, error_score="raise").fit(rows[0], rows[1])
    runs = [RunDirectory.open(path) for path in (tmp_path / "search").iterdir()]
    assert len(runs) == 5, "two folds of two candidates, and the refit"
    assert Path(search.best_estimator_.run_) in [run.path for run in runs]
    restored = pickle.loads(pickle.dumps(search))
    assert np.array_equal(restored.predict_proba(rows[0]), search.predict_proba(rows[0]))


@pytest.mark.extras
def test_estimators_come_back_from_other_processes(encoder: str, rows: tuple[list[str], list[str]]) -> None:
    classifier = glotune.Classifier(encoder, **{**KEYS, "train__epochs": 1})
    found = cross_validate(classifier, *rows, cv=2, n_jobs=2, return_estimator=True, error_score="raise")
    for estimator, score in zip(found["estimator"], found["test_score"], strict=True):
        assert estimator.predict(rows[0]).shape == (60,)
        assert 0 <= score <= 1
    with pytest.raises(UserError, match=r"did you mean 'train\.epochs'"):
        cross_validate(glotune.Classifier(encoder, train__epoch=1), *rows, cv=2, n_jobs=2, error_score="raise")


def test_a_fit_that_learned_nothing_warns(encoder: str) -> None:
    texts, labels = ["good food", "rude staff", "lovely room", "dirty room"] * 10, ["good", "bad", "good", "bad"] * 10
    with pytest.warns(ConvergenceWarning, match=r"(?s)no skill.*too few.*data\.made_splits\.validation \(now 0\.1\)"):
        glotune.Classifier(encoder, **KEYS).fit(texts, labels)


@pytest.mark.extras
def test_weights_count_as_rows_do(encoder: str, rows: tuple[list[str], list[str]]) -> None:
    texts, labels = rows
    classifier = glotune.Classifier(encoder, **KEYS)
    plain = classifier.fit(texts, labels).predict_proba(texts)
    assert np.allclose(clone(classifier).fit(texts, labels, np.full(60, 2.0)).predict_proba(texts), plain, atol=1e-4)
    is_bad = np.array(labels) == "bad"
    tilted = clone(classifier).fit(texts, labels, sample_weight=np.where(is_bad, 20.0, 0.05))
    other = clone(classifier).fit(texts, labels, sample_weight=np.where(is_bad, 0.05, 20.0))
    means = [each[:, 0].mean() for each in (other.predict_proba(texts), plain, tilted.predict_proba(texts))]
    assert (np.diff(means) > 0.005).all(), means
    assert load_recipe(RunDirectory(tilted.run_).recipe).data.columns.weight == "weight"
    none = (np.array(labels) != "plain").astype(float)
    without = clone(classifier).fit(texts, labels, none)
    kept = [place for place, weight in enumerate(none) if weight]
    chosen = clone(classifier).fit(
        [texts[place] for place in kept], [labels[place] for place in kept], np.ones(len(kept))
    )
    assert without.classes_.tolist() == ["bad", "good"], "a weight of 0 is as if the row was not there"
    assert np.array_equal(without.predict_proba(texts), chosen.predict_proba(texts))


def test_the_decision_orders_as_the_probabilities(encoder: str, rows: tuple[list[str], list[str]]) -> None:
    texts, labels = rows
    three = glotune.Classifier(encoder, **KEYS).fit(texts, labels)
    logits = three.decision_function(texts)
    assert logits.shape == (60, 3)
    assert softmax(logits, axis=1) == pytest.approx(three.predict_proba(texts))
    two = glotune.Classifier(encoder, **KEYS).fit(texts, np.array(labels) == "bad")
    assert expit(two.decision_function(texts)) == pytest.approx(two.predict_proba(texts)[:, 1])


@pytest.mark.parametrize(
    ("given", "classes"),
    [
        (np.array([10, 9] * 20, np.int8), [9, 10]),
        (pd.Series(["b", "a"] * 20, dtype="category"), ["a", "b"]),
        (pd.Series([2, 1] * 20, dtype="Int64"), [1, 2]),
        (np.array([["b"], ["a"]] * 20, object), ["a", "b"]),
        (["c", *["b", "a"] * 19, "c"], ["a", "b", "c"]),
    ],
    ids=["int8", "category", "Int64", "column", "rare"],
)
@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
def test_columns_are_in_the_order_of_the_classes(encoder: str, given: Any, classes: list[Any]) -> None:
    texts = [f"{'good' if number % 2 else 'bad'} room {number}" for number in range(40)]
    fitted = glotune.Classifier(encoder, **{**KEYS, "train__epochs": 6}).fit(pd.Series(texts), given)
    assert fitted.classes_.tolist() == classes
    probabilities = fitted.predict_proba(np.array(texts)[:, None])
    assert probabilities.shape == (40, len(classes))
    second = str(np.asarray(given).ravel()[1])
    assert probabilities[1].argmax() == [str(each) for each in classes].index(second)
    assert set(fitted.predict(texts)) <= set(classes)


def test_pairs_come_as_the_columns_of_a_frame(encoder: str) -> None:
    made = pd.DataFrame(sentences("en", 40, pairs=True))
    fitted = glotune.Classifier(encoder, **KEYS).fit(made[["text", "text_pair"]], made["label"])
    pairs = list(zip(made["text"], made["text_pair"], strict=True))
    assert np.array_equal(fitted.predict_proba(pairs), fitted.predict_proba(made[["text", "text_pair"]]))


def test_a_fit_that_fails_leaves_the_earlier_one(encoder: str, rows: tuple[list[str], list[str]]) -> None:
    fitted = glotune.Classifier(encoder, **KEYS).fit(*rows)
    before = fitted.predict_proba(rows[0])
    with pytest.raises(UserError):
        fitted.set_params(train__epoch=1).fit(rows[0][:2], ["x", "y"])
    assert fitted.classes_.tolist() == ["bad", "good", "plain"]
    assert np.array_equal(fitted.predict_proba(rows[0]), before)


def test_parameters_are_those_of_scikit_learn(encoder: str) -> None:
    classifier = glotune.Classifier(encoder, recipe="humor-v3", seed=3)
    assert classifier.get_params() == {
        "encoder": encoder, "recipe": "humor-v3", "language": "und", "out": None, "seed": 3,
    }  # fmt: skip
    changed = clone(classifier).set_params(seed=4, language="en")
    assert (changed.get_params()["seed"], changed.language) == (4, "en")
    assert classifier.get_params()["seed"] == 3
    assert repr(classifier) == f"Classifier(encoder={encoder!r}, recipe='humor-v3', seed=3)"
    assert vars(classifier) == classifier.get_params(), "nothing is set beside the parameters"
    assert "humor-v3" in classifier._repr_html_(), "as a notebook shows it"
    pipeline = Pipeline([("texts", "passthrough"), ("glotune", classifier)]).set_params(glotune__seed=5)
    assert pipeline["glotune"].get_params()["seed"] == 5


def test_tags_say_strings(encoder: str) -> None:
    tags = get_tags(glotune.Classifier(encoder)).input_tags
    assert (tags.string, tags.one_d_array, tags.two_d_array) == (True, True, False)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (["a", "b"], ["x"], "2 texts and labels of shape"),
        ([], [], "no texts were given"),
        ("text", ["x"], "one string was given"),
        (["a", ""], ["x", "y"], "text 2: an empty text"),
        (["a", ("b", "c")], ["x", "y"], "text 2: a pair for a model of single texts"),
        (["a", "b"], ["x", "x"], "one label"),
        (["a", "b"], ["x", None], "label 2 is None"),
        (["a", "b"], [1.0, np.nan], "label 2 is nan"),
        (["a", "b"], pd.Series([1, pd.NA], dtype="Int64"), "label 2 is (nan|<NA>)"),
        (["a", "b"], [1.5, 2.5], "Unknown label type: continuous"),
        (["a", "b"], np.array([1, "x"], object), "labels of the types int and str"),
        (["a", "b"], [[0, 2], [1, 1]], r"labels of shape \(2, 2\)"),
    ],
)
def test_bad_texts_are_refused(encoder: str, X: object, y: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        glotune.Classifier(encoder, **KEYS).fit(X, y)  # type: ignore[arg-type]


def test_a_wrong_key_is_told_with_the_nearest(encoder: str) -> None:
    with pytest.raises(UserError, match=r"did you mean 'train\.epochs'"):
        glotune.Classifier(encoder, train__epoch=1).fit(["a", "b"], ["x", "y"])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1], "has the shape"),
        ([1, -1], "weight 2 is -1"),
        ([1, np.inf], "weight 2 is inf"),
        ([0, 0], "every weight is zero"),
        (["a", "b"], "something else than numbers"),
    ],
)
def test_bad_weights_are_refused(encoder: str, weights: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        glotune.Classifier(encoder, **KEYS).fit(["a", "b"], ["x", "y"], sample_weight=weights)


def test_a_key_whose_name_begins_like_one_that_fit_says_is_taken(encoder: str, tmp_path: Path) -> None:
    texts, labels = [row["text"] for row in sentences("en", 60)], [row["label"] for row in sentences("en", 60)]
    fitted = glotune.Classifier(encoder, data__train_rows=20, out=tmp_path, **KEYS).fit(texts, labels)
    profile = json.loads(RunDirectory(fitted.run_).data_profile.read_text())["splits"]["train"]["und"]
    assert profile["rows"] == 20


@pytest.mark.parametrize("key", ["data__labels", "data__train", "data__columns__text", "data__source_languages"])
def test_a_key_can_not_say_what_fit_is_given(encoder: str, key: str) -> None:
    with pytest.raises(UserError, match=f"the key {key}"):
        glotune.Classifier(encoder, **{key: ["y", "x"]}).fit(["a", "b"], ["x", "y"])


def test_it_must_be_fitted_first(encoder: str) -> None:
    with pytest.raises(NotFittedError):
        glotune.Classifier(encoder).predict(["a"])


@pytest.mark.parametrize("missing", [float("nan"), None, pd.NA, pd.NaT])
@pytest.mark.parametrize("kind", [list, lambda labels: np.array(labels, dtype=object), pd.Series])
def test_a_missing_label_is_no_class(encoder: str, missing: object, kind: Any) -> None:
    with pytest.raises(UserError, match=r"label 2 is (nan|None|<NA>|NaT)"):
        glotune.Classifier(encoder).fit(["a", "b", "c"], kind(["x", missing, "y"]))


def test_nan_among_numbers_is_no_class(encoder: str) -> None:
    with pytest.raises(UserError, match="label 2 is nan"):
        glotune.Classifier(encoder).fit(["a", "b", "c"], np.array([0.0, np.nan, 1.0]))


def test_strings_and_numbers_are_not_mixed(encoder: str) -> None:
    with pytest.raises(UserError, match="labels of the types"):
        glotune.Classifier(encoder).fit(["a", "b"], ["1", 1])


def test_labels_that_look_the_same_are_refused(encoder: str) -> None:
    with pytest.raises(UserError, match="look the same"):
        glotune.Classifier(encoder).fit(["a", "b", "c"], ["caf\u00e9", "cafe\u0301", "x"])


def test_odd_labels_are_told(encoder: str) -> None:
    texts = [f"text {i}" for i in range(20)]
    with pytest.raises(UserError, match="Unknown label type: continuous"):
        glotune.Classifier(encoder, train__epochs=0).fit(texts, [i % 4 / 2 for i in range(20)])
    with pytest.warns(UserWarning, match="multi-label"), pytest.raises(UserError, match="epochs"):
        glotune.Classifier(encoder, train__epochs=0).fit(texts, ["joy", "fear", "joy|fear", "joy"] * 5)
