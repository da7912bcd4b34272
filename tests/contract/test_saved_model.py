"""C7: the saved model opens in transformers.pipeline and gives the recorded labels, scores to 1e-5."""

import csv
import json
import unicodedata
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import pytest

import glotune
from encoders import TEXTS, make_encoder
from glotune.verbs.train import train
from small_runs import small_recipe, write_csv

LORA = {"rank": 4, "alpha": 8, "target_modules": ["query", "value", "dense"]}


@pytest.mark.parametrize("family", ["xlm-roberta", "bert", "modernbert", "deberta-v2"])
@pytest.mark.parametrize("overrides", [{}, {"model__lora": LORA}], ids=["full", "lora"])
def test_the_pipeline_gives_the_recorded_predictions(tmp_path: Path, family: str, overrides: dict[str, Any]) -> None:
    from transformers import pipeline

    run = train(small_recipe(tmp_path, family, train__epochs=1, **overrides), out=tmp_path / "run", report=False)
    classify = pipeline("text-classification", model=str(run.path / "model"), device="cpu")
    records = pq.read_table(run.directory.predictions / "test.es.parquet").to_pylist()
    answers = classify([record["text"] for record in records], truncation=True, top_k=None)
    for record, answer in zip(records, answers, strict=True):
        scores = {entry["label"]: entry["score"] for entry in answer}
        expected = dict(zip(run.manifest.labels, record["probabilities"], strict=True))
        assert answer[0]["label"] == run.manifest.labels[record["predicted"]]
        assert scores == pytest.approx(expected, abs=1e-5)


def test_decomposed_text_is_read_as_in_training(tmp_path: Path) -> None:
    """NFC is part of the saved tokenizer: text in NFD gives the same ids."""
    import unicodedata

    from transformers import AutoTokenizer

    run = train(small_recipe(tmp_path, train__epochs=1), out=tmp_path / "run", report=False)
    tokenizer = AutoTokenizer.from_pretrained(run.path / "model")
    text = "la comida fue buenísima y el café también"
    assert tokenizer(unicodedata.normalize("NFD", text))["input_ids"] == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_predict_gives_the_pipelines_scores_in_every_unicode_form(tmp_path: Path, form: Literal["NFC", "NFD"]) -> None:
    """Under the family's own tokenizer class, whose normalizer transformers builds anew."""
    from transformers import pipeline

    texts = ["পড়া বোঝা ভালো ছিল", "tiếng Việt rất hay", "관객 음식이 맛있고"]
    encoder = make_encoder(tmp_path / "xlm-roberta-2", texts=[*TEXTS, *texts])
    settings = json.loads((encoder / "tokenizer_config.json").read_text())
    (encoder / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "XLMRobertaTokenizer"}))
    run = train(small_recipe(tmp_path, train__epochs=1), out=tmp_path / "run", report=False)
    given = [unicodedata.normalize(form, text) for text in texts]
    classify = pipeline("text-classification", model=str(run.path / "model"), device="cpu", top_k=None)
    for folder in (run.path, run.path / "model"):
        for answer, prediction in zip(classify(given), glotune.load(folder).predict(given), strict=True):
            scores = {entry["label"]: entry["score"] for entry in answer}
            assert scores == pytest.approx(prediction.probabilities, abs=1e-6)


PAD_KEYS: dict[str, dict[str, Any]] = {
    "packed": {},
    "padded": {"train__batching": "dynamic"},
    "cached": {"model__freeze": {"embeddings": True, "layers": 1}},
    "pairs": {"pairs": True},
    "mean": {"model__pooling": "mean"},
}


@pytest.mark.parametrize("how", PAD_KEYS)
def test_a_text_that_says_pad_is_read_as_transformers_reads_it(tmp_path: Path, how: str) -> None:
    """XLM-R counts positions past padding, wherever it stands; the vocabulary is trimmed."""
    from transformers import pipeline

    recipe = small_recipe(tmp_path, train__epochs=1, **PAD_KEYS[how])
    for name in ("train", "dev", "es"):
        path = tmp_path / f"{name}.csv"
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        write_csv(path, [{**row, "text": f"{row['text']} <pad> <pad> {row['text']}"} for row in rows[::2]] + rows[1::2])
    run = train(recipe, out=tmp_path / "run", report=False)
    classify = pipeline("text-classification", model=str(run.path / "model"), device="cpu", trust_remote_code=True)
    records = pq.read_table(run.directory.predictions / "test.es.parquet").to_pylist()
    given = [
        {"text": record["text"], **({"text_pair": record["text_pair"]} if how == "pairs" else {})} for record in records
    ]
    assert sum("<pad>" in each["text"] for each in given) == 15
    answers = [classify(each, truncation=True, top_k=None, max_length=32) for each in given]
    for record, answer in zip(records, answers, strict=True):
        expected = dict(zip(run.manifest.labels, record["probabilities"], strict=True))
        assert {entry["label"]: entry["score"] for entry in answer} == pytest.approx(expected, abs=1e-5)
    if how == "packed":
        text = "a good room <pad> bad"
        scores = {entry["label"]: entry["score"] for entry in classify({"text": text}, top_k=None)}
        assert glotune.load(run.path).predict([text])[0].probabilities == pytest.approx(scores, abs=1e-5)
