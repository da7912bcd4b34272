"""Tokenizing many rows: glotune's store against `datasets.map`, both from texts on disk to tokens on disk."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.speed.side import Job, Result
from benchmarks.speed.world import LABELS, MAX_LENGTH, Row, World, read, write

PROCESSES = (None, 2)
"""``num_proc`` that `datasets.map` tries: the tokenizer's own threads, or processes."""


def many(world: World, rows: int) -> Path:
    """So many distinct rows made of UMSAB's texts: each with a number behind it."""
    path = world.folder / f"rows-{rows}.csv"
    if not path.exists():
        write(path, list(_numbered(read(world.train), rows)))
    return path


def _numbered(texts: list[Row], rows: int) -> Iterator[Row]:
    for index in range(rows):
        row = texts[index % len(texts)]
        yield {**row, "text": f"{row['text']} {index}"}


def job_of(kind: str, world: World, rows: int, **more: Any) -> Job:
    """The job of one side."""
    return {"kind": kind, "encoder": str(world.encoder), "file": str(many(world, rows)), **more}


def ours(job: Job) -> Result:
    """Seconds of tokenizing alone, texts read and checked beforehand; and of both."""
    from glotune.data.reading import read_texts
    from glotune.data.tokenization import tokenize
    from glotune.model.loading import load_tokenizer
    from glotune.recipe.schema import Data, Model

    data = Data.model_validate({"train": job["file"], "labels": list(LABELS), "max_length": MAX_LENGTH})
    tokenizer = load_tokenizer(Model(name=job["encoder"]))
    started = time.perf_counter()
    texts = read_texts(data, 0)
    read_seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        stores = tokenize(texts, tokenizer, data, Path(cache))
        seconds = time.perf_counter() - started
        rows = sum(len(store) for store in stores.values())
        tokens = sum(int(store.offsets[-1]) for store in stores.values())
        del stores
    return {"seconds": seconds, "read_seconds": read_seconds, "rows": rows, "tokens": tokens}


def datasets_map(job: Job) -> Result:
    """Seconds of `datasets.map`, batched, texts read to Arrow beforehand."""
    from datasets import load_dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job["encoder"])
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        data = load_dataset("csv", data_files=job["file"], split="train", cache_dir=cache)
        read_seconds = time.perf_counter() - started

        def encode(batch: Any) -> Any:
            return tokenizer(batch["text"], truncation=True, max_length=MAX_LENGTH)

        started = time.perf_counter()
        done = data.map(encode, batched=True, num_proc=job["processes"], remove_columns=["text", "language"])
        seconds = time.perf_counter() - started
        tokens = None if job.get("uncounted") else sum(map(len, done["input_ids"]))
        return {"seconds": seconds, "read_seconds": read_seconds, "rows": len(done), "tokens": tokens}
