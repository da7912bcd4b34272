"""Training in windows as a plain loop over transformers' own: from the same weights, the same losses and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from glotune.data.batches import effective_batches, epoch_order
from glotune.data.reading import read_texts
from glotune.verbs.train import train
from small_runs import LABELS, small_recipe

BATCH, RATE, MOST = 16, 5e-4, 4
POOLS = {"mean": lambda logits: logits.mean(dim=0), "max": lambda logits: logits.amax(dim=0)}


@pytest.mark.parametrize("pool", ["mean", pytest.param("max", marks=pytest.mark.extras)])
def test_a_loop_that_pools_overflowing_tokens(tmp_path: Path, pool: str) -> None:
    recipe = small_recipe(
        tmp_path,
        rows=48,
        model__dropout=0.0,
        data__max_length=8,
        data__windows={"stride": 2, "most": MOST, "pool": pool},
        optimizer={"learning_rate": RATE, "weight_decay": 0.0, "max_grad_norm": None},
        schedule__name="constant",
        train__epochs=1,
        train__batch_size=BATCH,
    )
    source = tmp_path / "start"
    from glotune.model.loading import load_encoder, load_tokenizer

    load_encoder(recipe.model, LABELS, seed=recipe.seed, log=lambda line: None).save_pretrained(source)
    load_tokenizer(recipe.model).save_pretrained(source)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"name": str(source)})})
    run = train(recipe, out=tmp_path / "run", report=False)
    texts = read_texts(recipe.data, recipe.seed)
    model, losses = plain_loop(source, texts.splits["train"], pool)
    found = [event.data["loss"] for event in run.directory.events() if event.kind == "step"]
    assert found == pytest.approx(losses, abs=2e-5)
    saved = load_file(run.path / "model" / "model.safetensors")
    for name, value in model.state_dict().items():
        if name in saved and not name.endswith("key.bias"):  # the softmax does not see it: Adam scales up its rounding
            torch.testing.assert_close(saved[name], value, atol=2e-5, rtol=0)
    records = pq.read_table(run.directory.predictions / "test.es.parquet").to_pylist()
    with torch.no_grad():
        logits = logits_of(model.eval(), source, [record["text"] for record in records], pool)
    expected = torch.softmax(logits, dim=1).numpy()
    np.testing.assert_allclose([record["probabilities"] for record in records], expected, atol=1e-4)


def plain_loop(source: Path, split: Any, pool: str) -> tuple[Any, list[float]]:
    """What anybody would write: tokenize with overflow, pool the logits, AdamW."""
    model = AutoModelForSequenceClassification.from_pretrained(source).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.0)
    table, losses = split.table["text"].to_pylist(), []
    for rows in effective_batches(epoch_order(split.language_ids, 0, 0, None), BATCH):
        logits = logits_of(model, source, [table[row] for row in rows], pool)
        loss = functional.cross_entropy(logits, torch.from_numpy(split.labels[rows].astype(np.int64)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


def logits_of(model: Any, source: Path, texts: list[str], pool: str) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(source)
    found = tokenizer(
        texts,
        truncation=True,
        max_length=8,
        stride=2,
        return_overflowing_tokens=True,
        padding=True,
        return_tensors="pt",
    )
    owners = found.pop("overflow_to_sample_mapping")
    logits = model(**found).logits
    return torch.stack([POOLS[pool](logits[owners == text][:MOST]) for text in range(len(texts))])
