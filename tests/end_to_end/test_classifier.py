"""The classifier in scikit-learn's hands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

import glotune
from encoders import make_encoder
from glotune.errors import UserError
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
    with pytest.raises(UserError, match="out=FOLDER"):
        fitted.__getstate__()


def test_labels_keep_their_type(encoder: str, tmp_path: Path) -> None:
    made = sentences("en", 40)
    labels = [row["label"] == "good" for row in made]
    fitted = glotune.Classifier(encoder, out=tmp_path / "run", **KEYS).fit([row["text"] for row in made], labels)
    assert fitted.classes_.dtype == bool
    assert fitted.predict([made[0]["text"]]).dtype == bool
    assert repr(fitted).endswith("labels=[False, True], device='cpu')")
    assert repr(glotune.load(tmp_path / "run")) == (
        "Predictor(labels=['False', 'True'], device='cpu', precision='fp32')"
    )
    assert glotune.load(tmp_path / "run").labels == ["False", "True"]
    assert "_predictor" in fitted.__getstate__()


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


def test_parameters_are_those_of_scikit_learn(encoder: str) -> None:
    classifier = glotune.Classifier(encoder, recipe="humor-v3", seed=3)
    assert classifier.get_params() == {
        "encoder": encoder, "recipe": "humor-v3", "language": "und", "out": None, "seed": 3,
    }  # fmt: skip
    changed = clone(classifier).set_params(seed=4, language="en")
    assert (changed.get_params()["seed"], changed.language) == (4, "en")
    assert classifier.get_params()["seed"] == 3
    assert repr(classifier) == f"Classifier(encoder={encoder!r}, recipe='humor-v3', seed=3)"


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (["a", "b"], ["x"], "2 texts and labels of shape"),
        ([], [], "no texts were given"),
        ("text", ["x"], "one string was given"),
        (["a", ""], ["x", "y"], "text 2: an empty text"),
        (["a", ("b", "c")], ["x", "y"], "text 2: a pair for a model of single texts"),
        (["a", "b"], ["x", "x"], "one label"),
    ],
)
def test_bad_texts_are_refused(encoder: str, X: object, y: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        glotune.Classifier(encoder, **KEYS).fit(X, y)  # type: ignore[arg-type]


def test_a_wrong_key_is_told_with_the_nearest(encoder: str) -> None:
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        glotune.Classifier(encoder, train__epoch=1).fit(["a", "b"], ["x", "y"])


def test_it_must_be_fitted_first(encoder: str) -> None:
    with pytest.raises(NotFittedError):
        glotune.Classifier(encoder).predict(["a"])


@pytest.mark.parametrize("missing", [float("nan"), None, pd.NA, pd.NaT])
@pytest.mark.parametrize("kind", [list, lambda labels: np.array(labels, dtype=object), pd.Series])
def test_a_missing_label_is_no_class(encoder: str, missing: object, kind: Any) -> None:
    with pytest.raises(UserError, match=r"label 2: (nan|None|<NA>|NaT) is no label"):
        glotune.Classifier(encoder).fit(["a", "b", "c"], kind(["x", missing, "y"]))


def test_nan_among_numbers_is_no_class(encoder: str) -> None:
    with pytest.raises(UserError, match="label 2: nan is no label"):
        glotune.Classifier(encoder).fit(["a", "b", "c"], np.array([0.0, np.nan, 1.0]))


def test_strings_and_numbers_are_not_mixed(encoder: str) -> None:
    with pytest.raises(UserError, match="labels of the types"):
        glotune.Classifier(encoder).fit(["a", "b"], ["1", 1])


def test_labels_that_look_the_same_are_refused(encoder: str) -> None:
    with pytest.raises(UserError, match="look the same"):
        glotune.Classifier(encoder).fit(["a", "b", "c"], ["caf\u00e9", "cafe\u0301", "x"])


def test_odd_labels_are_told(encoder: str) -> None:
    texts = [f"text {i}" for i in range(20)]
    with pytest.warns(UserWarning, match="regression"), pytest.raises(UserError, match="epochs"):
        glotune.Classifier(encoder, train__epochs=0).fit(texts, [i % 4 / 2 for i in range(20)])
    with pytest.warns(UserWarning, match="multi-label"), pytest.raises(UserError, match="epochs"):
        glotune.Classifier(encoder, train__epochs=0).fit(texts, ["joy", "fear", "joy|fear", "joy"] * 5)
