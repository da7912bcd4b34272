"""The same trained classifier four ways: glotune, ONNX in fp32, ONNX in 8 bits, and transformers' pipeline.

Every way answers the same texts in the same process, one after another, round by round (A B C D A B C D …), so that a
machine whose speed changes slows all of them alike. Measured are texts a second in windows of many texts, and the time
that a single text and a batch of texts wait for their answers, one after another.
"""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Answer = Callable[[list[str]], Any]
PIPELINE_BATCH = 32
"""Texts that the pipeline pads together, sorted by length first: the best it can do."""
BATCH = 32
"""Texts of a batch whose latency is measured."""


@dataclass
class Way:
    """One way to answer, and what it took."""

    name: str
    size: int
    """Bytes of its weights."""
    answer: Answer
    many: list[float] = field(default_factory=list)
    """Seconds of each round over all texts."""
    single: list[float] = field(default_factory=list)
    """Seconds of each single text."""
    batches: list[float] = field(default_factory=list)
    """Seconds of each batch of `BATCH` texts, in the order in which they came."""


def ways(run: Path, exports: Sequence[Path]) -> list[Way]:
    """glotune on the run, each export, and the pipeline on the run's model folder."""
    import glotune

    found = [Way("glotune, torch fp32", _bytes(run / "model"), _fresh(glotune.load(run, device="cpu")))]
    found += [Way(f"glotune, {path.name}", _bytes(path), _fresh(glotune.load(path))) for path in exports]
    return [*found, Way("transformers.pipeline, fp32", _bytes(run / "model"), _pipeline(run))]


def _fresh(predictor: Any) -> Answer:
    """Answers that were given before are forgotten: every text is computed."""

    def answer(texts: list[str]) -> Any:
        predictor.engine.forget()
        return predictor.predict_proba(texts)

    return answer


def _pipeline(run: Path) -> Answer:
    import torch
    from transformers import pipeline

    from glotune.recipe import load_recipe

    length = load_recipe(run / "recipe.yaml").data.max_length
    model = pipeline("text-classification", model=str(run / "model"), dtype=torch.float32, top_k=None)

    def answer(texts: list[str]) -> Any:
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        batch = min(PIPELINE_BATCH, len(texts))
        return model([texts[index] for index in order], batch_size=batch, truncation=True, max_length=length)

    return answer


def measure(found: Sequence[Way], texts: list[str], singles: list[str], rounds: int) -> None:
    """Fills in what each way takes."""
    batches = [texts[start : start + BATCH] for start in range(0, len(texts) - BATCH + 1, BATCH)]
    for way in found:
        way.answer(texts[:64])
    for _ in range(rounds):
        for way in found:
            way.many.append(_seconds(way.answer, texts))
        for way in found:
            way.single += [_seconds(way.answer, [text]) for text in singles]
        for way in found:
            way.batches += [_seconds(way.answer, batch) for batch in batches]


def _seconds(answer: Answer, texts: list[str]) -> float:
    started = time.perf_counter()
    answer(texts)
    return time.perf_counter() - started


def table(found: Sequence[Way], count: int) -> str:
    """Markdown; ratios are those of the medians of the same rounds."""
    lines = [
        f"| | weights | texts/s | against the pipeline | one text, median | p99 | {BATCH} texts, median | p99 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    slowest = np.array(found[-1].many)
    for way in found:
        ratio = statistics.median(slowest / np.array(way.many))
        lines.append(
            f"| {way.name} | {way.size / 2**20:,.0f} MiB | {count / statistics.median(way.many):,.0f} | {ratio:.2f} × |"
            f" {_latency(way.single)} | {_latency(way.batches)} |"
        )
    return "\n".join(lines)


def _latency(seconds: list[float]) -> str:
    median, high = np.percentile(seconds, [50, 99])
    return f"{1000 * median:.1f} ms | {1000 * high:.1f} ms"


def texts_of(data: Path, per_language: int) -> list[str]:
    """The first test texts of each UMSAB language."""
    found = []
    for path in sorted((data / "umsab").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row["text"] for row in csv.DictReader(file) if row["split"] == "test"]
        found += rows[:per_language]
    return found


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".safetensors", ".onnx", ".data"))
