"""Prediction: the pipeline's answers, in order, each text once, in bounded memory."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

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
        predictor.engine.forget()
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
    assert predictor.max_length == 128


def test_every_text_that_is_cut_is_marked_also_when_it_comes_again(predictor: Predictor) -> None:
    long, fits = " ".join(TEXTS) * 5, "short"
    found = list(predictor.stream([fits, long, fits, long, long], window=2))
    assert [prediction.truncated for prediction in found] == [False, True, False, True, True]


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


def edited(folder: Path, **keys: object) -> Path:
    """The folder with these keys in its config.json; None takes one out."""
    config = json.loads((folder / "config.json").read_text())
    config = {key: value for key, value in (config | keys).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def without(folder: Path, *endings: str) -> Path:
    """The folder without the weights whose names end so."""
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.endswith(endings)}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


HEADS = {
    "xlm-roberta": ("classifier.dense.weight", "classifier.out_proj.bias"),
    "bert": ("bert.pooler.dense.weight", "classifier.weight"),
    "modernbert": ("head.dense.weight", "classifier.bias"),
    "deberta-v2": ("pooler.dense.bias", "classifier.weight"),
}


@pytest.mark.parametrize(
    ("family", "weight"), [(family, weight) for family, names in HEADS.items() for weight in names]
)
def test_a_head_that_is_not_there_does_not_answer(tmp_path: Path, family: str, weight: str) -> None:
    folder = without(make_encoder(tmp_path / "model", family, labels=LABELS), weight)
    with pytest.raises(UserError, match=f"without a classification head: its weights lack .*{weight}"):
        load(folder)


@pytest.mark.parametrize("architectures", [None, ["XLMRobertaForTokenClassification"]])
def test_a_head_for_something_else_does_not_answer(tmp_path: Path, architectures: list[str] | None) -> None:
    folder = edited(make_encoder(tmp_path / "bare"), architectures=architectures)
    with pytest.raises(UserError, match="without a classification head"):
        load(folder)


def test_a_head_of_other_sizes_than_its_config_does_not_answer(tmp_path: Path) -> None:
    folder = edited(make_encoder(tmp_path / "model", labels=LABELS), id2label={"0": "no", "1": "yes"}, label2id=None)
    with pytest.raises(UserError, match=r"classifier\.out_proj\.bias of .* \[3\], its config.json asks for \[2\]"):
        load(folder)


def test_num_labels_without_names_gives_those_of_transformers(tmp_path: Path) -> None:
    from transformers import pipeline

    folder = make_encoder(tmp_path / "model", labels=LABELS)
    edited(folder, id2label=None, label2id=None, num_labels=3, architectures=None)
    predictor = load(folder)
    assert predictor.labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    classify = pipeline("text-classification", model=str(folder), dtype=torch.float32, top_k=None)
    for text, prediction in zip(TEXTS, predictor.predict(TEXTS), strict=True):
        scores = {entry["label"]: entry["score"] for entry in classify([text])[0]}
        assert prediction.probabilities == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "keys", "message"),
    [
        (["score"], {}, "answers one number per text"),
        (LABELS, {"id2label": {"1": "a", "2": "b", "3": "c"}}, "id2label of .* is .*1: 'a'"),
        (LABELS, {"id2label": {"0": "a", "1": "b", "2": "a"}}, "a name of its own for each class from 0 to 2"),
    ],
)
def test_a_head_of_another_kind_is_refused(
    tmp_path: Path, labels: list[str], keys: dict[str, object], message: str
) -> None:
    folder = edited(make_encoder(tmp_path / "model", labels=labels), label2id=None, **keys)
    with pytest.raises(UserError, match=message) as caught:
        load(folder)
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "problem_type"),
    [(["score"], "regression"), (LABELS, "regression"), (LABELS, "multi_label_classification")],
)
def test_a_head_answers_what_its_config_says(tmp_path: Path, labels: list[str], problem_type: str) -> None:
    from transformers import pipeline

    folder = edited(make_encoder(tmp_path / "model", labels=labels), problem_type=problem_type)
    classify = pipeline("text-classification", model=str(folder), dtype=torch.float32, top_k=None)
    for text, found in zip(TEXTS, load(folder).predict(TEXTS), strict=True):
        theirs = {entry["label"]: entry["score"] for entry in classify([text], truncation=True)[0]}
        assert found.label is None
        if problem_type == "regression":
            assert found.scores == pytest.approx(theirs, abs=1e-6)
        else:
            assert found.probabilities == pytest.approx(theirs, abs=1e-6)
            assert found.labels == [name for name in labels if theirs[name] >= 0.5]


def test_a_path_to_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run"):
        load(tmp_path / "nothing")
    with pytest.raises(UserError, match="not a run directory"):
        load(tmp_path)
    with pytest.raises(UserError, match="only runs are calibrated"):
        load(make_encoder(tmp_path / "model", labels=LABELS), calibrated=True)
    with pytest.raises(UserError, match="the device mpx is not here"):
        load(tmp_path / "model", device="mpx")
