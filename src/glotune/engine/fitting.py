"""Fits a fresh run to the machine: the probe's figures become the plan's budget and its expectations."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from glotune.engine.assembly import Assembled
from glotune.engine.memory import free_memory, local_ranks
from glotune.engine.parts import Parts
from glotune.engine.plan import SMALLEST_TOKENS, Need, fit_budget
from glotune.engine.prefixes import decide_prefixes, visits_of
from glotune.engine.probe import Probe, Rates
from glotune.engine.recorder import Recorder
from glotune.engine.step import out_of_memory

NO_NEED = Need(held=0, fixed=0, per_token=0.0)


def fit_to_machine(assembled: Assembled, cache: Path, recorder: Recorder) -> Assembled:
    """The same run under a plan whose budget fits the memory, with what an epoch is expected to take.

    Only memory decides, and only by halving: throughput, which no two runs agree on, is told and nothing else. Ranks
    agree on the least budget.

    Args:
        cache: folder of the frozen-prefix cache, which is looked at and not filled.
    """
    parts = assembled.parts
    how, cached = decide_prefixes(parts, cache)
    free = _free_for(parts)
    begin = time.perf_counter()
    try:
        need, rates = Probe(parts, cached).measure()
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        need, rates = NO_NEED, None
    probed = time.perf_counter() - begin
    tokens, why = fit_budget(parts.plan.token_budget, need, free)
    if rates is None:
        tokens, why = min(tokens, SMALLEST_TOKENS), "memory is short: it ran out in the probe"
    tokens = _least(parts, tokens)
    if tokens < parts.plan.token_budget or why is not None:
        recorder.warn(_shortage(tokens, parts.plan.token_budget, need, free))
    wall = {"probe_seconds": probed, "bytes_free": free, "bytes_held": need.held, "bytes_per_token": need.per_token}
    if rates is not None:
        wall |= expectations(parts, rates, cached)
    plan = parts.plan.model_copy(
        update={
            "token_budget": tokens,
            "reasons": {**parts.plan.reasons, "prefix_cache": how} | ({} if why is None else {"token_budget": why}),
            "wall": {name: float(f"{value:.4g}") for name, value in wall.items()},
        }
    )
    return replace(assembled, parts=replace(parts, plan=plan))


def expectations(parts: Parts, rates: Rates, cached: Mapping[str, bool]) -> dict[str, float]:
    """What the run is expected to take, in seconds: an epoch with its evaluations, filling the cache, all of it.

    ``tokens_per_second`` is that of training alone, on all ranks.
    """
    epochs, ranks = parts.settings.train.epochs, parts.processes.ranks
    lengths, visits = parts.stores["train"].lengths, visits_of(parts)
    tokens = sum(int(lengths[rows].sum()) for rows in parts.epoch(0))
    training = tokens * rates.training / ranks + parts.steps_per_epoch * rates.update
    passes = {split: _pass_seconds(parts, split, rates, cached) for split in parts.stores if split != "train"}
    evaluating = sum((visits[split] - 1) * seconds for split, seconds in passes.items())
    filling = sum(int(np.sum(parts.stores[split].lengths)) for split, used in cached.items() if used) * rates.prefix
    return {
        "tokens_per_second": ranks / rates.training,
        "seconds_per_epoch": training + evaluating / epochs,
        "evaluation_seconds_per_epoch": evaluating / epochs,
        "cache_seconds": filling,
        "seconds": training * epochs + evaluating + sum(passes.values()) + filling,
    }


def _pass_seconds(parts: Parts, split: str, rates: Rates, cached: Mapping[str, bool]) -> float:
    """One evaluation of a split. It was timed with the validation texts, whose prefix may be cached where this one's
    is not."""
    was, is_cached = cached.get("validation", False), cached.get(split, False)
    per_token = rates.evaluation + rates.prefix * (was - is_cached)
    return int(parts.stores[split].lengths.sum()) * max(0.0, per_token) / parts.processes.ranks


def _free_for(parts: Parts) -> int:
    """Bytes for this rank: those of a GPU are its own, those of the host are shared."""
    free = free_memory(parts.device)
    return free if parts.device.type == "cuda" else free // local_ranks(parts.processes.ranks)


def _least(parts: Parts, tokens: int) -> int:
    box = np.zeros(parts.processes.ranks)
    box[parts.processes.rank] = tokens
    return int(parts.processes.sum_array(box).min())


def _shortage(tokens: int, wanted: int, need: Need, free: int) -> str:
    return (
        f"memory is short: {free / 1e9:.1f} GB free, {need.under(wanted) / 1e9:.1f} GB asked by {wanted} tokens in a "
        f"micro-batch, {need.under(tokens) / 1e9:.1f} GB by the {tokens} that are planned. The update stays the same"
    )
