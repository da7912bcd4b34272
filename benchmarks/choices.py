"""What the constants of `glotune.engine.plan` rest on, and what windows cost: `python -m benchmarks.choices NAME`.

Each figure is the median over rounds A B A B of one forward and backward pass in training mode (dropout 0.1) over
texts of mixed lengths (29 tokens on average, as tweets), random XLM-R weights, tokens per second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from statistics import median

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, XLMRobertaConfig

from glotune.data.batches import PackedBatch, collate, cut
from glotune.data.tokenization import TokenStore
from glotune.data.windows import Reach, Windowing
from glotune.engine.plan import cpu_has_bf16
from glotune.model.cpu.tune import tune
from glotune.model.network import Network
from glotune.recipe.schema import Windows

WORDS = 20_000
"""Rows of the embedding: about what a corpus leaves of XLM-R's 250,002."""


def made_store(texts: int, seed: int = 0) -> TokenStore:
    """Texts of 5 to 128 random tokens, log-normal lengths."""
    generator = np.random.default_rng(seed)
    lengths = np.clip(generator.lognormal(3.2, 0.55, texts), 5, 128).astype(np.int64)
    return TokenStore(
        tokens=generator.integers(5, WORDS, lengths.sum()).astype(np.int32),
        token_types=None,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=(np.arange(texts) % 3).astype(np.int16),
        languages=np.zeros(texts, dtype=np.int16),
        language_names=["en"],
        rows=np.arange(texts, dtype=np.int32),
        raw_lengths=lengths.astype(np.int32),
    )


def made_network(hidden: int, layers: int) -> Network:
    """A random XLM-R of this shape, frozen nowhere."""
    config = XLMRobertaConfig(
        vocab_size=WORDS,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64 if hidden % 64 == 0 else hidden // 32,
        intermediate_size=4 * hidden,
        max_position_embeddings=514,
        type_vocab_size=1,
        num_labels=3,
    )
    torch.manual_seed(0)
    network = Network(AutoModelForSequenceClassification.from_config(config))
    tune(network, "cpu", "fp32", training=True)  # without packed weights, which a step of one micro-batch goes without
    return network.train()


def passes(
    network: Callable[[PackedBatch], torch.Tensor],
    batches: list[PackedBatch],
    bf16: bool,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Tokens per second of one forward and backward over the batches."""
    begin = clock()
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits_BC = network(batch)
        torch.nn.functional.cross_entropy(logits_BC.float(), torch.from_numpy(batch.rows % 3)).backward()
    return sum(batch.num_tokens for batch in batches) / (clock() - begin)


def rounds(ways: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Every way once to warm up, then in turns."""
    for way in ways.values():
        way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            found[name].append(way())
    return found


def shown(rates: list[float]) -> str:
    """``12,345 (11,900-12,600)``."""
    return f"{median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})"


def batches_of(store: TokenStore, budget: int) -> list[PackedBatch]:
    """The whole store, cut as the engine cuts."""
    return [collate(store, rows) for rows, _ in cut(np.arange(len(store)), store.lengths, budget)]


def precision(repeats: int) -> None:
    """fp32 against bf16 autocast, by width and texts in a micro-batch."""
    print("| width | texts | fp32, tokens/s | bf16 autocast | ratio |\n| --- | --- | --- | --- | --- |")
    shapes = [(hidden, texts) for hidden in (64, 128, 192, 256, 384) for texts in (16, 64)]
    for hidden, texts in (*shapes, (512, 64), (768, 64)):
        network, batches = made_network(hidden, 4), batches_of(made_store(texts), 2048)
        ways = {str(bf16): partial(passes, network, batches, bf16) for bf16 in (False, True)}
        found = rounds(ways, repeats)
        ratios = [b / a for a, b in zip(found["False"], found["True"], strict=True)]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"| {hidden} | {texts} | {shown(found['False'])} | {shown(found['True'])} | {spread} |", flush=True)


def budget(repeats: int) -> None:
    """Tokens per second by micro-batch budget, bf16, one effective batch of 256 texts cut by length."""
    store = made_store(256)
    budgets = (256, 512, 1024, 2048, 4096, 8192)
    print("| width | " + " | ".join(map(str, budgets)) + " |\n| --- |" + " --- |" * len(budgets))
    for hidden, bf16 in ((384, True), (768, True), (768, False)):
        network = made_network(hidden, 2)
        cuts = {size: batches_of(store, size) for size in budgets}
        ways = {str(size): partial(passes, network, cuts[size], bf16) for size in budgets}
        found = rounds(ways, repeats)
        kind = "bf16" if bf16 else "fp32"
        print(f"| {hidden}, {kind} | " + " | ".join(shown(found[str(size)]) for size in budgets) + " |", flush=True)


def compiled(repeats: int) -> None:
    """torch.compile of the whole network, its shapes compiled beforehand, against eager; 4 layers 768 wide."""
    batches = batches_of(made_store(64), 2048)
    for bf16 in (False, True):
        network = made_network(768, 4)
        begin = time.perf_counter()
        fast = torch.compile(network, dynamic=False)
        passes(fast, batches, bf16)
        waited = time.perf_counter() - begin
        ways = {"eager": partial(passes, network, batches, bf16), "compiled": partial(passes, fast, batches, bf16)}
        found = rounds(ways, repeats)
        ratios = [b / a for a, b in zip(found["eager"], found["compiled"], strict=True)]
        print(
            f"{'bf16' if bf16 else 'fp32'}: eager {shown(found['eager'])}, compiled {shown(found['compiled'])}, "
            f"ratio {median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}); first pass over {len(batches)} shapes "
            f"{waited:.0f} s",
            flush=True,
        )


def long_store(texts: int, seed: int = 0) -> TokenStore:
    """Texts of 40 to 900 random tokens, the longer ones in up to 8 windows of 128 that share 32."""
    generator = np.random.default_rng(seed)
    raw_lengths = np.clip(generator.lognormal(5.0, 0.8, texts), 40, 900).astype(np.int64)
    reach = Reach(128, 2, Windows(stride=32, most=8))
    windowing = Windowing(reach.counts(raw_lengths), reach)
    lengths = np.minimum(raw_lengths, reach.tokens) + (windowing.counts - 1) * reach.overlap
    return replace(
        made_store(texts),
        tokens=generator.integers(5, WORDS, lengths.sum()).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        raw_lengths=raw_lengths.astype(np.int32),
        windows=windowing,
    )


def windows(repeats: int) -> None:
    """Texts in windows against the same windows as texts of their own, as truncation would leave them; e5's width.

    By the processor time of all threads: what else the machine does counts less.
    """
    store = long_store(12)
    network = made_network(384, 3)
    cuts = {"truncated texts": store.by_sequence(), "windows": store}

    def measured(name: str) -> float:
        own = cuts[name]
        rows = np.arange(len(own))
        batches = [collate(own, piece) for piece, _ in cut(rows, own.costs, 2048)]
        return passes(network, batches, cpu_has_bf16(), time.process_time)

    found = rounds({name: partial(measured, name) for name in cuts}, repeats)
    ratios = [b / a for a, b in zip(*found.values(), strict=True)]
    tokens, sequences = int(store.lengths.sum()), len(cuts["truncated texts"])
    print(f"{len(store)} texts, {sequences} windows, {tokens:,} tokens, {'bf16' if cpu_has_bf16() else 'fp32'}")
    for name, rates in found.items():
        print(f"{name}: {shown(rates)} tokens/s")
    print(f"ratio {median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})")


def main() -> None:
    """Parses, measures, prints Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choices", description=__doc__)
    ways = {"precision": precision, "budget": budget, "compile": compiled, "windows": windows}
    parser.add_argument("what", choices=list(ways))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    ways[arguments.what](arguments.repeats)


if __name__ == "__main__":
    main()
