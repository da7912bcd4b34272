"""XLM-R shapes on a CUDA device, everything in one call: glotune's step against Trainer's best, memory, and the share
of the card's own matrix-product rate. Without a device it says so and runs through on the CPU at a tiny size."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glotune.data.batches import PackedBatch, collate, cut
from glotune.data.tokenization import TokenStore
from glotune.engine.plan import choose_budget
from glotune.model.cpu.tune import tune
from glotune.model.network import Network
from glotune.tasks.single_label import with_labels

BATCH = 512
"""Texts in a step."""
PER_DEVICE = (32, 64, 128, 256, 512)
MATRIX = 8192
ROUNDS = 3
SECONDS = 540
"""After so many seconds no further part is begun: the whole call stays under ten minutes."""


@dataclass(frozen=True)
class Shape:
    """An encoder with random weights."""

    name: str
    hidden: int
    layers: int
    heads: int
    vocabulary: int = 250_002


SHAPES = (Shape("XLM-R-base", 768, 12, 12), Shape("XLM-R-large", 1024, 24, 16))
TINY = (Shape("tiny", 64, 2, 4, 2_000),)


@dataclass(frozen=True)
class Measured:
    """One engine over one step."""

    seconds: float
    peak: int
    """Bytes of device memory; 0 on a CPU."""


def report(*, tiny: bool = False) -> str:
    """Measures every shape and returns one table, with the device's name above it."""
    there = torch.cuda.is_available()
    device = torch.device("cuda" if there else "cpu")
    small = tiny or not there
    lines = [_heading(there, small)]
    rate = matrix_rate(device, 512 if small else MATRIX)
    lines.append(f"bf16 matmul of this device: {rate / 1e12:.3g} TFLOP/s\n")
    lines.append("| encoder | dropout | Trainer's best | glotune | ratio | memory | share of the matmul rate |")
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    started = time.perf_counter()
    for shape in TINY if small else SHAPES:
        for dropout in (0.1, 0.0):
            if time.perf_counter() - started > SECONDS:
                lines.append(f"| {shape.name} | {dropout:g} | time ran out | | | | |")
                continue
            lines.append(_line(shape, dropout, device, rate, small))
    return "\n".join(lines)


def _heading(there: bool, small: bool) -> str:
    if there:
        name = torch.cuda.get_device_name(0)
        return f"{name}, torch {torch.__version__}" + (" (tiny encoder: no figure means anything)" if small else "")
    return "There is no GPU here: a tiny encoder on the CPU shows that the script runs; no figure means anything."


def matrix_rate(device: torch.device, size: int) -> float:
    """FLOP/s of a bf16 product of two square matrices, the best of ten."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = [_timed(device, lambda: left @ right) for _ in range(10)]
    return float(2 * size**3 / min(times))


def _line(shape: Shape, dropout: float, device: torch.device, rate: float, small: bool) -> str:
    texts = 32 if small else BATCH
    store = made_texts(texts, 2_000 if small else 30_000)
    tokens = int(store.offsets[-1])
    best = _best_padded(shape, dropout, store, device, (8, 16) if small else PER_DEVICE)
    own = packed_step(shape, dropout, store, device)
    flops = flops_of(shape, [int(length) for length in store.lengths])
    ratio = [a.seconds / b.seconds for a, b in zip(best, own, strict=True)]
    memory = max(each.peak for each in own) / max(1, max(each.peak for each in best))
    seconds = [float(np.median([each.seconds for each in side])) for side in (best, own)]
    return (
        f"| {shape.name} | {dropout:g} | {1000 * seconds[0]:.1f} ms | {1000 * seconds[1]:.1f} ms | "
        f"{np.median(ratio):.2f} × ({min(ratio):.2f}–{max(ratio):.2f}) | "
        f"{f'{memory:.2f} ×' if device.type == 'cuda' else '-'} | {flops / seconds[1] / rate:.0%} "
        f"({tokens / seconds[1]:,.0f} tokens/s) |"
    )


def made_texts(count: int, vocabulary: int) -> TokenStore:
    """Random tokens with the lengths of tweets: log-normal, median 27, at most 128."""
    generator = np.random.default_rng(0)
    lengths = np.clip(np.exp(generator.normal(np.log(27), 0.45, count)), 4, 128).astype(np.int64)
    zeros = np.zeros(count, np.int16)
    return TokenStore(
        tokens=generator.integers(5, vocabulary, int(lengths.sum())).astype(np.int32),
        token_types=None,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=zeros,
        languages=zeros,
        language_names=["und"],
        rows=np.arange(count, dtype=np.int32),
        raw_lengths=lengths.astype(np.int32),
    )


def flops_of(shape: Shape, lengths: list[int]) -> float:
    """Floating-point operations of a training step that has to be done: padding, a repeated pass and the last layer's
    unused tokens don't count (forward once, backward twice)."""
    width, tokens = shape.hidden, sum(lengths)
    pairs = sum(length * length for length in lengths)
    linear = 2 * 12 * width * width * tokens * (shape.layers - 1)
    last = 2 * 2 * width * width * tokens + 2 * 10 * width * width * len(lengths)
    attention = 4 * width * (pairs * (shape.layers - 1) + tokens)
    return float(3 * (linear + last + attention))


def packed_step(shape: Shape, dropout: float, store: TokenStore, device: torch.device) -> list[Measured]:
    """glotune's step: trimmed to the texts' tokens, packed, pooled last layer, fused AdamW."""
    network = Network(model_of(shape, dropout, rows=int(store.tokens.max()) + 1)).to(device).train()
    tune(network, device.type, "bf16", training=True)
    budget, _ = choose_budget(device.type, shape.hidden, shape.layers, "bf16")
    batches = [
        with_labels(collate(store, rows), store).to(device)
        for rows, _ in cut(np.arange(len(store)), store.lengths, budget)
    ]

    def loss_of(batch: PackedBatch) -> Tensor:
        labels = batch.targets["labels"]
        return torch.nn.functional.cross_entropy(network(batch).float(), labels, reduction="sum") / len(store)

    return _steps(network, lambda: iter(batches), loss_of, device)


def _best_padded(
    shape: Shape, dropout: float, store: TokenStore, device: torch.device, sizes: tuple[int, ...]
) -> list[Measured]:
    """Of all per-device batches that fit, the fastest."""
    found: list[list[Measured]] = []
    for size in sizes:
        try:
            found.append(padded_step(shape, dropout, store, device, size))
        except torch.OutOfMemoryError:
            break
        finally:
            _clear(device)
    return min(found, key=lambda side: float(np.median([each.seconds for each in side])))


def padded_step(
    shape: Shape, dropout: float, store: TokenStore, device: torch.device, size: int
) -> list[Measured]:  # fmt: skip
    """What Trainer's best practice computes: sorted texts in batches of `size`, padded to their longest."""
    hf = model_of(shape, dropout, rows=shape.vocabulary).to(device).train()
    order = np.argsort(store.lengths)[::-1]
    pieces = [order[start : start + size] for start in range(0, len(order), size)]

    def padded() -> Iterator[dict[str, Tensor]]:
        for rows in pieces:
            longest = int(store.lengths[rows].max())
            ids = torch.full((len(rows), longest), 1)
            for place, row in enumerate(rows):
                own = store.tokens[store.offsets[row] : store.offsets[row + 1]]
                ids[place, : len(own)] = torch.from_numpy(own.astype(np.int64))
            labels = torch.zeros(len(rows), dtype=torch.long)
            yield {name: value.to(device, non_blocking=True) for name, value in
                   {"input_ids": ids, "attention_mask": (ids != 1).long(), "labels": labels}.items()}  # fmt: skip

    def loss_of(batch: dict[str, Tensor]) -> Tensor:
        return hf(**batch).loss * (len(batch["labels"]) / len(store))

    return _steps(hf, padded, loss_of, device)


def model_of(shape: Shape, dropout: float, rows: int) -> Any:
    """A random classifier of the shape."""
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=rows,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.hidden,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=3,
    )
    return XLMRobertaForSequenceClassification(config)


def _steps(
    network: torch.nn.Module,
    batches: Callable[[], Iterator[Any]],
    loss_of: Callable[[Any], Tensor],
    device: torch.device,
) -> list[Measured]:
    """Two steps to warm up, then the rounds that count."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        for batch in batches():
            with torch.autocast(device.type, torch.bfloat16):
                loss = loss_of(batch)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        step()
    times = [_timed(device, step) for _ in range(ROUNDS)]
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    return [Measured(seconds, peak) for seconds in times]


def _timed(device: torch.device, work: Callable[[], object]) -> float:
    def settled() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    started = settled()
    work()
    return settled() - started


def _clear(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
