"""Prediction: the pipeline's answers, in order, each text once, in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders import TEXTS, make_encoder
from glotune.engine import predict as engine_module
from glotune.errors import UserError
from glotune.verbs.predict import Predictor, load

LABELS = ["negative", "neutral", "positive"]


@pytest.fixture(scope="module", params=["xlm-roberta", "bert", "modernbert", "deberta-v2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("model") / request.param, request.param, labels=LABELS)


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    return load(make_encoder(tmp_path / "model", labels=LABELS))


def test_the_answers_are_those_of_the_pipeline(folder: Path) -> None:
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(folder), dtype=torch.float32, top_k=None)
    found = load(folder).predict(TEXTS)
    for text, prediction in zip(TEXTS, found, strict=True):
        expected = {entry["label"]: entry["score"] for entry in classify([text], truncation=True)[0]}
        assert prediction.label == max(expected, key=lambda label: expected[label])
        assert list(prediction.probabilities) == LABELS
        for label, score in expected.items():
            assert abs(prediction.probabilities[label] - score) < 1e-5


def test_pairs_are_those_of_the_pipeline(folder: Path) -> None:
    from transformers import pipeline

    pairs = list(itertools.pairwise(TEXTS))
    classify = pipeline("text-classification", model=str(folder), dtype=torch.float32, top_k=None)
    for pair, prediction in zip(pairs, load(folder).predict(pairs), strict=True):
        inputs = {"text": pair[0], "text_pair": pair[1]}
        for entry in classify([inputs], truncation=True)[0]:
            assert abs(prediction.probabilities[entry["label"]] - entry["score"]) < 1e-5


def test_the_window_changes_nothing_but_rounding(predictor: Predictor) -> None:
    texts = [f"{text} {number}" for number, text in enumerate(TEXTS * 3)]
    whole = predictor.predict_proba(texts)
    for window in (1, 7):
        predictor.engine._known.clear()
        pieces = list(predictor.stream(texts, window))
        assert np.allclose([list(piece.probabilities.values()) for piece in pieces], whole, atol=1e-6)


def test_each_text_is_computed_once(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[str] = []
    original = engine_module.Engine._compute

    def counting(self: engine_module.Engine, texts: list[str]) -> np.ndarray:
        computed.extend(texts)
        return original(self, texts)

    monkeypatch.setattr(engine_module.Engine, "_compute", counting)
    found = list(predictor.stream(["a", "b", "a", "c", "b", "a"], window=2))
    assert sorted(computed) == ["a", "b", "c"]
    assert found[0] == found[2] == found[5]
    assert found[0] != found[1]


def test_what_is_remembered_is_bounded(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "REMEMBERED", 5)
    list(predictor.stream((f"text {number}" for number in range(40)), window=8))
    assert len(predictor.engine._known) == 5


def test_a_stream_is_read_a_window_at_a_time(predictor: Predictor) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"text {read}"

    first = list(itertools.islice(predictor.stream(endless(), window=4), 6))
    assert len(first) == 6
    assert read == 8


def test_texts_longer_than_the_model_are_cut(predictor: Predictor) -> None:
    long = " ".join(TEXTS) * 5
    assert len(predictor.predict([long, "short"])) == 2
    assert predictor.engine.encoding.store([long]).lengths[0] == 128


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "one string was given"),
        (["a", " \n"], "text 2: an empty text"),
        (["a", None], "text 2: NoneType 'None' instead of a text"),
        ([3.5], "text 1: float"),
        ([("a", "")], "an empty text in a pair"),
        ([("a", "b", "c")], "text 1: tuple"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(predictor: Predictor, texts: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        predictor.predict(texts)  # type: ignore[arg-type]


def test_no_texts_give_no_predictions(predictor: Predictor) -> None:
    assert predictor.predict([]) == []
    assert predictor.predict_proba([]).shape == (0, 3)


def test_an_encoder_without_a_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="without a classification head"):
        load(make_encoder(tmp_path / "bare"))


def test_a_path_to_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run"):
        load(tmp_path / "nothing")
    with pytest.raises(UserError, match="not a run directory"):
        load(tmp_path)
    with pytest.raises(UserError, match="only runs are calibrated"):
        load(make_encoder(tmp_path / "model", labels=LABELS), calibrated=True)
    with pytest.raises(UserError, match="the device mpx is not here"):
        load(tmp_path / "model", device="mpx")
