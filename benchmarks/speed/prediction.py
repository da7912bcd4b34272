"""Prediction: `glotune.load(...).predict` against `transformers.pipeline`, length-sorted, at its best batch size."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.speed.side import Job, Result
from benchmarks.speed.world import MAX_LENGTH, World, read

BATCH_SIZES = (8, 16, 32, 64, 128)
WARM_UP = 16


def job_of(kind: str, world: World, texts: int, precision: str, **more: Any) -> Job:
    """The job of one side: distinct texts, in an order that says nothing about their length."""
    return {
        "kind": kind,
        "encoder": str(world.encoder),
        "texts": [row["text"] for row in read(world.sample(texts))],
        "precision": precision,
        **more,
    }


def ours(job: Job) -> Result:
    """Seconds for all texts, tokenizing included, and the probabilities."""
    import glotune

    predictor = glotune.load(job["encoder"], device="cpu", precision=job["precision"])
    texts = job["texts"]
    predictor.predict([f"{text} ." for text in texts[:WARM_UP]])
    started = time.perf_counter()
    predictions = predictor.predict(texts)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "probabilities": [list(each.probabilities.values()) for each in predictions]}


def pipeline(job: Job) -> Result:
    """The same of transformers; texts sorted by tokens beforehand, outside the time that counts."""
    import torch
    from transformers import pipeline as make_pipeline

    kind = torch.float32 if job["precision"] == "fp32" else torch.bfloat16
    pipe = make_pipeline("text-classification", model=job["encoder"], device="cpu", dtype=kind)
    texts = job["texts"]
    lengths = [len(ids) for ids in pipe.tokenizer(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]]
    order = sorted(range(len(texts)), key=lambda index: -lengths[index])
    options = {"truncation": True, "max_length": MAX_LENGTH, "top_k": None, "batch_size": job["batch_size"]}
    ordered = [texts[index] for index in order]
    pipe(ordered[-WARM_UP:], **options)
    started = time.perf_counter()
    answers = pipe(ordered, **options)
    seconds = time.perf_counter() - started
    labels = [pipe.model.config.id2label[index] for index in range(pipe.model.config.num_labels)]
    found: list[list[float]] = [[]] * len(texts)
    for index, answer in zip(order, answers, strict=True):
        scores = {each["label"]: each["score"] for each in answer}
        found[index] = [scores[label] for label in labels]
    return {"seconds": seconds, "probabilities": found}


def largest_difference(first: Result, second: Result) -> float:
    """Of any probability of any text."""
    pairs = zip(first["probabilities"], second["probabilities"], strict=True)
    return max(abs(a - b) for left, right in pairs for a, b in zip(left, right, strict=True))
