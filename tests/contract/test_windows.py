"""C1, C4, C5, C7 and C8 of texts that are read in windows, and how much of a text is read."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

import glotune
from contract.test_savings import FROZEN, losses
from contract.test_tasks import assert_close, in_windows, single_label, sums_and_gradients
from encoders import FALLBACK_FAMILIES, PACKED_FAMILIES, make_tokenizer
from glotune.data.batches import PackedBatch, collate, cut, filled, pooled
from glotune.data.encoding import Encoding
from glotune.data.reading import read_texts
from glotune.data.tokenization import TokenStore, tokenize
from glotune.errors import UserError
from glotune.evidence.equality import differences
from glotune.model.loading import load_encoder, load_tokenizer
from glotune.model.network import Network
from glotune.recipe.schema import Data, Model
from glotune.verbs.evaluate import evaluate
from glotune.verbs.train import train
from packed_batches import gradients, largest_difference, load, packed, random_ids
from small_families import make_family
from small_runs import LABELS, small_recipe

WINDOWS: dict[str, Any] = {"data__max_length": 12, "data__windows": {"stride": 3, "most": 4}}
LONG = ["good", "room food " * 3, "la comida fue buena y el lugar bonito, " * 2, "what a great day " * 9]


def data_of(path: Path | str = "none.csv", **keys: Any) -> Data:
    return Data.model_validate({"train": str(path), **keys})


def store_of(family: str, texts: list[str], pool: str = "mean") -> TokenStore:
    data = data_of(max_length=12, windows={"stride": 4, "most": 5, "pool": pool})
    return Encoding(make_tokenizer(family), data).store(texts)


# ---- cutting ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*PACKED_FAMILIES, *FALLBACK_FAMILIES])
@pytest.mark.parametrize(("max_length", "stride"), [(12, 0), (12, 4), (7, 4), (60, 20)])
def test_windows_are_those_of_transformers(family: str, max_length: int, stride: int, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(family)
    data = data_of(max_length=max_length, windows={"stride": stride, "most": 5})
    store, read = Encoding(tokenizer, data).store(LONG), 0
    for row, text in enumerate(LONG):
        expected = tokenizer(
            text, truncation=True, max_length=max_length, stride=stride, return_overflowing_tokens=True
        )["input_ids"]
        batch = collate(store, np.array([row]), by_text=True)
        assert [each.tolist() for each in batch.input_ids.split(list(batch.lengths))] == expected[:5]
        assert batch.windows_BM is not None
        assert batch.windows_BM[0, : len(expected[:5])].tolist() == list(range(len(expected[:5])))
        whole, special = len(tokenizer(text)["input_ids"]), tokenizer.num_special_tokens_to_add()
        step = max_length - special - stride
        assert store.left_out[row] == max(0, whole - (max_length + 4 * step))
        read += len(expected[:5])
    assert collate(store, np.arange(len(LONG))).num_tokens == store.lengths.sum()
    assert sum(store.windows.counts) == read  # type: ignore[union-attr]


def test_the_cache_and_texts_seen_once_are_cut_alike(tmp_path: Path) -> None:
    rows = [json.dumps({"text": text, "label": "ab"[number % 2]}) for number, text in enumerate(LONG * 6)]
    (tmp_path / "en.jsonl").write_text("\n".join(rows))
    data = data_of(tmp_path / "en.jsonl", max_length=9, windows={"stride": 3, "most": 3})
    texts, tokenizer = read_texts(data, 0), make_tokenizer("bert")
    kept = tokenize(texts, tokenizer, data, tmp_path / "cache")["train"]
    once = Encoding(tokenizer, data).store(texts.splits["train"].table["text"].to_pylist())
    for name in ("tokens", "offsets", "raw_lengths", "left_out"):
        assert np.array_equal(getattr(kept, name), getattr(once, name)), name
    assert kept.windows.counts.tolist() == once.windows.counts.tolist()  # type: ignore[union-attr]
    plain = data.model_copy(update={"windows": None})
    assert tokenize(texts, tokenizer, plain, tmp_path / "cache")["train"].lengths.max() == 9


def test_the_first_window_alone_is_truncation() -> None:
    first = store_of("bert", LONG, "first")
    plain = Encoding(make_tokenizer("bert"), data_of(max_length=12)).store(LONG)
    assert np.array_equal(first.tokens, plain.tokens)
    assert np.array_equal(first.left_out, plain.left_out)


def test_what_cannot_be_windows_is_refused() -> None:
    with pytest.raises(UserError, match=r"windows of 12 tokens, 2 of them special, can't share 10"):
        Encoding(make_tokenizer("bert"), data_of(max_length=12, windows={"stride": 10})).store(LONG)
    for keys in ({"truncation": "head_tail"}, {"columns": {"text_pair": "other"}}):
        with pytest.raises(ValueError, match="windows"):
            data_of(windows={}, **keys)


def test_windows_stand_by_length_and_belong_to_their_texts() -> None:
    store, rows = store_of("bert", LONG), np.array([3, 0, 2])
    plain, sorted_ = collate(store, rows, by_text=True), collate(store, rows)
    assert list(sorted_.lengths) == sorted(plain.lengths) != list(plain.lengths)
    parts = [each.input_ids.split(list(each.lengths)) for each in (plain, sorted_)]
    for mine, theirs in zip(plain.windows_BM.tolist(), sorted_.windows_BM.tolist(), strict=True):  # type: ignore[union-attr]
        assert [place < 0 for place in mine] == [place < 0 for place in theirs]
        for first, second in zip(mine, theirs, strict=True):
            assert first < 0 or torch.equal(parts[0][first], parts[1][second])


# ---- the forward pass ---------------------------------------------------------------------------------


def in_pieces(batch: PackedBatch, pool: str) -> PackedBatch:
    """The twelve sequences of a packed batch as the windows of four texts."""
    places = torch.tensor([[0, 1, 2, 3, 4], [5, -1, -1, -1, -1], [6, 7, 8, -1, -1], [9, 10, 11, -1, -1]])
    return replace(batch, windows_BM=places, pool=pool, rows=np.arange(4))  # type: ignore[arg-type]


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_c1_packed_is_padded(tmp_path: Path, family: str, pool: str) -> None:
    hf = load(tmp_path, family)
    batch = in_pieces(packed(random_ids()), pool)
    expected, wanted = gradients(Network(hf, packed=False), replace(batch, pad_to=128))
    logits, found = gradients(Network(hf), batch)
    assert len(logits) == len(batch) == 4
    assert (logits - expected).abs().max() < 1e-5
    assert largest_difference(found, wanted) < 1e-5


def test_windows_of_a_family_that_padding_would_change_run_by_length(tmp_path: Path) -> None:
    make_family(tmp_path, "xlnet")
    network = Network(load_encoder(Model(name=str(tmp_path)), LABELS, seed=0, log=lambda line: None).eval())
    texts = random_ids()
    with torch.no_grad():
        together = network(in_pieces(packed(texts), "mean"))
        alone = torch.cat([network(packed([text])) for text in texts])
    expected = torch.stack([part.mean(dim=0) for part in alone.split([5, 1, 3, 3])])
    assert (together - expected).abs().max() < 1e-5


def test_pooling_is_that_of_numpy() -> None:
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits[0] = torch.nan  # of a text that answers so, and of no other
    batch = in_pieces(packed(random_ids()), "mean")
    for pool, reduce in (("mean", np.mean), ("max", np.max)):
        found = pooled(logits, batch.windows_BM, pool).numpy()  # type: ignore[arg-type]
        groups = [range(5), [5], range(6, 9), range(9, 12)]
        expected = np.stack([reduce(logits.float().numpy()[list(group)], axis=0) for group in groups])
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_filled_batch_answers_for_its_texts_as_before(tmp_path: Path) -> None:
    network = Network(load(tmp_path, "bert"))
    batch = in_pieces(packed(random_ids()), "mean")
    batch = replace(batch, targets={"labels": torch.arange(4)})
    full = filled(batch)
    assert len(full) == len(full.lengths) == 16
    assert full.targets["labels"].tolist()[4:] == [-100] * 12
    with torch.no_grad():
        assert (network(full)[:4] - network(batch)).abs().max() < 1e-5


def test_fixed_batches_hold_as_many_windows_as_fit() -> None:
    store = store_of("bert", LONG * 3)
    pieces = list(cut(np.arange(12), store.costs, 12 * 6, "fixed", 12))
    assert [row for rows, _ in pieces for row in rows] == list(range(12))
    counts = [int(store.windows.counts[rows].sum()) for rows, _ in pieces]  # type: ignore[union-attr]
    assert max(counts) <= 6
    assert min(a + b for a, b in pairwise(counts)) > 6, "none could hold the next one too"


@pytest.mark.parametrize("batching", ["dynamic", "fixed"])
def test_padded_batches_give_the_packed_update(tmp_path: Path, batching: str) -> None:
    sums, whole = sums_and_gradients(in_windows(single_label, "mean")(tmp_path), tmp_path, 10**6)
    parts = in_windows(single_label, "mean", train__batching=batching)(tmp_path)
    for budget in (64, 10**6):
        other, found = sums_and_gradients(parts, tmp_path, budget)
        assert other == pytest.approx(sums, abs=1e-5)
        assert_close(whole, found)


# ---- whole runs ---------------------------------------------------------------------------------------


def test_c4_a_trimmed_run_is_the_full_run(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, model__dropout=0.0, train__epochs=1, **WINDOWS)
    trimmed = train(recipe, out=tmp_path / "trimmed", report=False)
    full = train(recipe, {"speed.trim_vocabulary": False}, out=tmp_path / "full", report=False)
    assert [change.kind for change in trimmed.manifest.changes if change.kind == "trim_vocabulary"]
    assert losses(trimmed) == pytest.approx(losses(full), abs=1e-6)
    weights = [load_file(run.path / "model" / "model.safetensors") for run in (trimmed, full)]
    for name, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][name], atol=2e-6, err_msg=name)


@pytest.mark.extras
def test_a_cached_prefix_trains_as_one_computed_afresh(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, model__dropout=0.0, **FROZEN, **WINDOWS)
    cached = train(recipe, out=tmp_path / "cached", report=False)
    afresh = train(recipe, {"speed.prefix_cache": "off"}, out=tmp_path / "afresh", report=False)
    assert [change.details["splits"]["train"] for change in cached.manifest.changes if change.kind == "prefix_cache"]
    assert losses(cached) == pytest.approx(losses(afresh), abs=1e-5)


@pytest.mark.parametrize(
    "lora", [None, pytest.param({"rank": 4, "alpha": 8}, marks=pytest.mark.extras)], ids=["full", "lora"]
)
def test_every_reader_of_a_run_reads_windows(tmp_path: Path, lora: dict[str, Any] | None) -> None:
    from transformers import pipeline

    recipe = small_recipe(tmp_path, model__lora=lora, **WINDOWS)
    run = train(recipe, out=tmp_path / "run", report=False, command=[])
    records = pq.read_table(run.directory.predictions / "test.es.parquet").to_pylist()
    texts = [record["text"] for record in records]
    expected = [dict(zip(LABELS, record["probabilities"], strict=True)) for record in records]
    long = "buena lugar " * 30
    for place in (run.path, run.path / "model"):
        predictor = glotune.load(place)
        assert predictor.max_length == 12 + 3 * 7
        for prediction, wanted in zip(predictor.predict(texts), expected, strict=True):
            assert prediction.probabilities == pytest.approx(wanted, abs=1e-5)
        assert [each.truncated for each in predictor.predict([long, "buena"])] == [True, False]
    judged = evaluate(run.path, name="again")
    (again,) = [each for each in judged.evaluations if each.split == "test"]
    recorded = run.directory.read_metrics()["test"]["es"]
    assert again.scores == pytest.approx({name: recorded[name] for name in again.scores}, abs=1e-4)
    classify = pipeline("text-classification", model=str(run.path / "model"), device="cpu", top_k=None)
    tokenizer = load_tokenizer(recipe.model)
    short = next(record for record in records if len(tokenizer(record["text"])["input_ids"]) <= 12)
    answer = {entry["label"]: entry["score"] for entry in classify([short["text"]], truncation=True)[0]}
    assert answer == pytest.approx(dict(zip(LABELS, short["probabilities"], strict=True)), abs=1e-5)
    assert any("read in up to 4 windows" in note for note in run.manifest.notes)
    plain = train(recipe, {"model.name": str(run.path / "model"), "data.windows": None}, out=tmp_path / "plain",
                  report=False, command=[])  # fmt: skip
    assert glotune.load(plain.path / "model").max_length == 12
    profile = json.loads(run.directory.data_profile.read_text())["splits"]["train"]["en"]
    trained = read_texts(recipe.data, 0).splits["train"].table["text"].to_pylist()
    whole = [len(ids) for ids in tokenizer(trained)["input_ids"]]
    assert max(whole) > 12, "windows are made"
    assert profile["truncated_rows"] == sum(length > 33 for length in whole)


@pytest.mark.extras
def test_c8_the_same_run_twice(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, **WINDOWS)
    runs = [train(recipe, out=tmp_path / name, report=False, command=[]) for name in ("one", "two")]
    assert differences(runs[0].directory, runs[1].directory) == []
