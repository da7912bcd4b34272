"""A head that reads the mean: C1 packed = padded, C4 trimmed = full, C5 cached prefix, C7 what others read of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import pytest
import torch

import glotune
from encoders import make_encoder
from glotune.errors import UserError
from glotune.hub.card import model_card
from glotune.hub.files import Choice, uploads
from glotune.model.loading import load_encoder
from glotune.model.network import Network
from glotune.model.packed.kernels import PADDED
from glotune.model.packed.packing import mean_by_text
from glotune.model.packed.walk import Flow, pooled
from glotune.model.surgery.lora import add_lora
from glotune.recipe.schema import Lora, Model
from glotune.verbs.export.export import export
from glotune.verbs.train import train
from packed_batches import LABELS, gradients, largest_difference, packed, random_ids, tuned
from small_runs import small_recipe

FAMILIES = ("xlm-roberta", "roberta", "bert", "modernbert")
OUTSIDE = """
import json, sys
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
folder, texts = sys.argv[1], json.loads(sys.argv[2])
try:
    AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=False)
except ValueError as error:
    refused = str(error)
classify = pipeline("text-classification", model=folder, device="cpu", trust_remote_code=True)
answers = classify(texts, truncation=True, top_k=None, batch_size=8)
assert not any(name.startswith("glotune") for name in sys.modules)
print(json.dumps([refused, answers]))
"""


def load(folder: Path, family: str, pooling: Literal["first", "mean"] | None = "mean") -> Any:
    if not folder.exists():
        make_encoder(folder, family, layers=3)
    model = Model(name=str(folder), pooling=pooling)
    return load_encoder(model, LABELS, seed=0, log=lambda line: None).eval()


@pytest.mark.parametrize("lora", [None, Lora(rank=2)], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_is_padded_and_is_the_mean(tmp_path: Path, family: str, lora: Lora | None) -> None:
    hf = load(tmp_path / "encoder", family)
    if lora is not None:
        hf, _ = add_lora(hf, lora)
    texts = random_ids()
    expected, wanted = gradients(Network(hf, packed=False), packed(texts, pad_to=128))
    network = tuned(Network(hf))
    assert not network.pooled_last_layer
    assert (
        network.changes()[-1].description == "the last layer runs in full: this encoder's head averages over all tokens"
    )
    logits, found = gradients(network, packed(texts))
    assert (logits - expected).abs().max() < 1e-5
    assert largest_difference(found, wanted) < 1e-5
    first = Network(load(tmp_path / "encoder", family, "first"))
    assert first.pooled_last_layer
    assert (first(packed(texts)) - expected).abs().max() > 0.01, "the same weights, read at the first token"


def test_the_heads_input_is_the_mean_of_the_last_layer(tmp_path: Path) -> None:
    """Beside transformers' own encoder and the family's own head, by hand."""
    hf, text = load(tmp_path / "encoder", "bert"), random_ids((9,))[0]
    states = hf.bert(torch.tensor([text])).last_hidden_state
    by_hand = hf.classifier(torch.tanh(hf.bert.pooler.dense(states.mean(dim=1))))
    assert (Network(hf)(packed([text])) - by_hand).abs().max() < 1e-5


def test_both_means_are_one_mean_forward_and_back(tmp_path: Path) -> None:
    """Over segments on CPU and CUDA, in plain sums where a device has no such product."""
    batch = packed(random_ids())
    anatomy = Network(load(tmp_path / "encoder", "xlm-roberta")).anatomy
    flow = Flow.of(batch, PADDED)
    tokens = torch.randn(batch.num_tokens, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    upstream = torch.linspace(-1, 1, 8 * len(batch)).view(-1, 8)
    means, slopes = [], []
    for mean in pooled(anatomy, tokens, flow), mean_by_text(tokens, batch.cu_seqlens):
        means.append(mean)
        slopes += torch.autograd.grad((mean * upstream).sum(), tokens)
    assert torch.allclose(*means, atol=1e-6)
    assert torch.allclose(*slopes, atol=1e-7)
    assert mean_by_text(tokens.bfloat16(), batch.cu_seqlens).dtype == torch.float32


@pytest.mark.parametrize("family", ["xlm-roberta", "modernbert"])
def test_a_device_without_sums_over_segments_takes_the_mean(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MPS is; ``torch.device("meta")``, which knows shapes alone, stands in for it."""

    def refuses(data: torch.Tensor, *given: Any, **more: Any) -> torch.Tensor:
        raise NotImplementedError(f"aten::segment_reduce on {data.device}")

    monkeypatch.setattr(torch, "segment_reduce", refuses)
    network = Network(load(tmp_path / "encoder", family)).to("meta")
    logits = network(packed(random_ids()).to("meta"))
    logits.sum().backward()
    assert logits.shape == (len(random_ids()), len(LABELS))


@pytest.mark.parametrize("family", ["xlm-roberta", pytest.param("bert", marks=pytest.mark.extras)])
def test_trimmed_cached_and_packed_are_none_of_these(tmp_path: Path, family: str) -> None:
    keys = {"model": {"name": "", "pooling": "mean", "dropout": 0.0, "freeze": {"embeddings": True, "layers": 1}}}
    base = small_recipe(tmp_path, family, train__epochs=1)
    model = {**keys["model"], "name": base.model.name}
    fast = train(base, {"model": model}, out=tmp_path / "fast", report=False)
    plain = {"model": model, "train.batching": "dynamic", "speed.trim_vocabulary": False, "speed.prefix_cache": "off"}
    slow = train(base, plain, out=tmp_path / "slow", report=False)

    def losses(run: Any) -> list[float]:
        return [json.loads(line)["data"]["loss"] for line in run.directory.events_path.read_text().splitlines()
                if json.loads(line)["kind"] == "step"]  # fmt: skip

    assert losses(fast) == pytest.approx(losses(slow), abs=1e-5)
    kinds = {change.kind for change in fast.manifest.changes}
    assert {"trim_vocabulary", "prefix_cache", "pooling"} <= kinds


def test_the_copy_in_the_folder_gives_the_recorded_predictions(tmp_path: Path) -> None:
    """An adapter merged; glotune reads the folder by its own class, transformers by the copy beside the weights."""
    from transformers import AutoModelForSequenceClassification, pipeline

    recipe = small_recipe(tmp_path, "bert", train__epochs=1, model__pooling="mean", model__lora={"rank": 2})
    run = train(recipe, out=tmp_path / "run", report=False)
    folder = run.path / "model"
    texts, expected = recorded(run)
    classify = pipeline("text-classification", model=str(folder), device="cpu", trust_remote_code=True)
    for answer, wanted in zip(classify(texts, truncation=True, top_k=None, batch_size=8), expected, strict=True):
        assert {entry["label"]: entry["score"] for entry in answer} == pytest.approx(wanted, abs=1e-5)
    for prediction, wanted in zip(glotune.load(folder).predict(texts), expected, strict=True):
        assert prediction.probabilities == pytest.approx(wanted, abs=1e-5)
    assert AutoModelForSequenceClassification.from_pretrained(folder).config.model_type == "bert-mean-pooled"
    card = str(model_card(run.path))
    assert 'model="USER/small", trust_remote_code=True' in card
    assert "reads the mean of all tokens" in card
    with pytest.raises(UserError, match="under one that reads the first"):
        uploads(run.directory, "USER/small", Choice(adapter=True))
    section = Model(name=str(folder))
    assert Network(load_encoder(section, run.manifest.labels, seed=0, log=print)).anatomy.pools_mean, "it goes on so"


@pytest.mark.parametrize("with_mask", [True, False])
@pytest.mark.parametrize("family", ["xlm-roberta", "roberta", "bert"])
def test_a_saved_model_answers_in_half_precision(tmp_path: Path, family: str, with_mask: bool) -> None:
    hf = load(tmp_path / "encoder", family)
    ids = torch.tensor(random_ids((9, 9)))
    mask = {"attention_mask": torch.ones_like(ids)} if with_mask else {}
    full = hf(ids, **mask).logits
    half = hf.to(torch.bfloat16)(ids, **mask).logits
    assert (full.dtype, half.dtype) == (torch.float32, torch.bfloat16)
    assert (half.float() - full).abs().max() < 0.02


def recorded(run: Any) -> tuple[list[str], list[dict[str, float]]]:
    rows = pq.read_table(run.directory.predictions / "test.es.parquet").to_pylist()
    scores = [dict(zip(run.manifest.labels, row["probabilities"], strict=True)) for row in rows]
    return [row["text"] for row in rows], scores


@pytest.mark.extras
def test_an_exported_graph_reads_the_mean(tmp_path: Path) -> None:
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra 'onnx'")
    run = train(small_recipe(tmp_path, train__epochs=1, model__pooling="mean"), out=tmp_path / "run", report=False)
    texts, expected = recorded(run)
    for precision, close in (("fp32", 1e-5), ("int8", 0.05)):
        made = export(run.path, precision=precision, out=tmp_path / precision, max_loss=100)
        for prediction, wanted in zip(glotune.load(made.path).predict(texts), expected, strict=True):
            assert prediction.probabilities == pytest.approx(wanted, abs=close)


@pytest.mark.extras
def test_outside_it_is_read_as_trained_or_not_at_all(tmp_path: Path) -> None:
    """Where nobody knows glotune: without trust_remote_code transformers refuses it, and reads no first token."""
    run = train(small_recipe(tmp_path, train__epochs=1, model__pooling="mean"), out=tmp_path / "run", report=False)
    texts, expected = recorded(run)
    without = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    outside = subprocess.run(
        [sys.executable, "-c", OUTSIDE, str(run.path / "model"), json.dumps(texts)],
        capture_output=True,
        text=True,
        env={**without, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    refused, answers = json.loads(outside.stdout.splitlines()[-1])
    assert "trust_remote_code=True" in refused
    for answer, wanted in zip(answers, expected, strict=True):
        assert {entry["label"]: entry["score"] for entry in answer} == pytest.approx(wanted, abs=1e-5)


def test_a_family_that_has_no_such_head_is_refused_before_a_run_directory(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, "deberta-v2", train__epochs=1)
    with pytest.raises(UserError, match=r"model\.pooling is 'mean'.*deberta-v2"):
        train(recipe, {"model.pooling": "mean"}, out=tmp_path / "run", report=False)
    assert not (tmp_path / "run").exists()
