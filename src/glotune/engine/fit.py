"""A run fitted to its machine: the budget of a micro-batch, the cached prefix, what is expected and what it cost.

Only memory decides on the budget, and only by halving; what is timed is said and decides nothing.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from glotune.engine.accelerator import out_of_memory, peak_device_memory
from glotune.engine.assembly import Assembled
from glotune.engine.parts import Parts
from glotune.engine.plan import SMALLEST_TOKENS, Need, fit_budget
from glotune.engine.probe import Probe, Rates, free_memory, local_ranks
from glotune.engine.recorder import Recorder
from glotune.engine.step import StepTime
from glotune.evidence.trend import FEW_STEPS
from glotune.model.prefix_cache import Filling, Use, cache_prefixes, decide
from glotune.run.directory import RunDirectory
from glotune.run.history import read_history
from glotune.run.records import Change
from glotune.words import size

BATCH_SIZES = (256, 128, 64, 32, 16, 8)
"""What is proposed instead: the largest that gives `ENOUGH` steps, or the smallest that helps at all."""
ENOUGH = 100
"""Steps after which a fine-tuning run is past its warmup."""


def few_steps(texts: int, batch_size: int, epochs: int) -> str | None:
    """The warning about one step per epoch, or fewer than `FEW_STEPS` in all; None where there are enough.

    Args:
        texts: training texts.
        batch_size: texts in one optimizer step.
        epochs: passes over them.
    """
    per_epoch = math.ceil(texts / batch_size)
    total = per_epoch * epochs
    if per_epoch > 1 and total >= FEW_STEPS:
        return None
    taken = f"train.batch_size={batch_size} takes " + ("all " if per_epoch == 1 else "so many of the ")
    many = "1 optimizer step" if per_epoch == 1 else f"{per_epoch} optimizer steps"
    return (
        f"{many} per epoch, {total} in all ({taken}{texts} training texts{' at once' if per_epoch == 1 else ''}): "
        f"the weights will hardly move, and the scores say little of the recipe. {_remedy(texts, batch_size, epochs)}"
    )


def _remedy(texts: int, batch_size: int, epochs: int) -> str:
    smaller = {each: math.ceil(texts / each) for each in BATCH_SIZES if each < batch_size}
    helpful = {each: steps for each, steps in smaller.items() if steps > 1 and steps * epochs >= FEW_STEPS}
    if helpful:
        enough = next((each for each, steps in helpful.items() if steps * epochs >= ENOUGH), min(helpful))
        return f"Lower train.batch_size ({enough} gives {helpful[enough]} steps per epoch) or raise train.epochs."
    enough = math.ceil(ENOUGH / math.ceil(texts / batch_size))
    return f"Raise train.epochs ({enough} gives {ENOUGH} steps), or give more training texts."


def with_cached_prefix(assembled: Assembled, cache: Path, recorder: Recorder, stored: list[Change]) -> Assembled:
    """The same run, reading the output of its frozen layers from a store; unchanged where that does not pay.

    Args:
        stored: the changes of an earlier attempt: splits that it cached and this one can't are a deviation.
    """
    parts = assembled.parts
    if parts.settings.speed.prefix_cache == "off" or not parts.plan.reads_prefix:
        return assembled
    states = partial(parts.forward, through=parts.network.prefix)
    filling = Filling(parts.network, states, parts.plan.precision, parts.device, parts.id_map)
    prefixes = cache_prefixes(
        filling,
        parts.stores,
        uses_of(parts),
        precision=parts.settings.speed.prefix_precision,
        cache=cache,
        on_warning=recorder.warn,
        progress=recorder.progress("cache"),
    )
    if prefixes.change is None:
        return assembled
    _note_deviation(prefixes.change, stored, recorder)
    changes = [*assembled.changes, prefixes.change]
    return replace(assembled, parts=replace(parts, prefixes=prefixes.stores), changes=changes)


def decide_prefixes(parts: Parts, cache: Path) -> tuple[str, dict[str, bool]]:
    """What `with_cached_prefix` is going to do: in words, and split -> whether its prefix is read from the cache."""
    network, speed = parts.network, parts.settings.speed
    if speed.prefix_cache == "off":
        return "off, as the recipe says", dict.fromkeys(parts.stores, False)
    if network.prefix_depth is None:
        return "no frozen layer in front of the first trained weight", dict.fromkeys(parts.stores, False)
    uses, precision = uses_of(parts), speed.prefix_precision
    decided = {
        split: decide(network, store, use=uses[split], precision=precision, cache=cache)
        for split, store in parts.stores.items()
    }
    reasons: dict[str, list[str]] = {}
    for split, decision in decided.items():
        reasons.setdefault(decision.reason, []).append(split)
    how = "; ".join(f"{', '.join(splits)}: {reason}" for reason, splits in reasons.items())
    return how, {split: decision.use for split, decision in decided.items()}


def uses_of(parts: Parts) -> Mapping[str, Use]:
    """What the run makes of the prefix of each split's texts."""
    settings = parts.settings
    fixed = {"train": settings.adversarial is None and not parts.stores["train"].epochs}
    others = settings.speed.prefix_cache == "all"
    return {split: Use(count, others, fixed.get(split, True)) for split, count in visits_of(parts).items()}


def visits_of(parts: Parts) -> Mapping[str, int]:
    """How often each split's texts pass the network: epochs; evaluations and the final one; once."""
    settings, epochs = parts.settings, parts.settings.train.epochs
    every = settings.evaluate_every
    evaluations = epochs if every == "epoch" else math.ceil(parts.steps_per_epoch * epochs / every)
    tests = {"never": 0, "last": 1, "each": evaluations}[settings.test]
    visits = {"train": epochs, "validation": evaluations + 1, "test": tests + 1}
    return {split: visits[split] for split in parts.stores}


def _note_deviation(change: Change, stored: list[Change], recorder: Recorder) -> None:
    before = [old.details["splits"] for old in stored if old.kind == "prefix_cache"]
    if before and before[0] != change.details["splits"]:
        recorder.deviation(f"the frozen prefix was cached for {before[0]}, now {change.details['splits']}")


NO_NEED = Need(held=0, fixed=0, per_token=0.0)


def fit_to_machine(assembled: Assembled, cache: Path, recorder: Recorder) -> Assembled:
    """The same run under a plan whose budget fits the memory, with what an epoch is expected to take.

    Only memory decides, and only by halving: throughput, which no two runs agree on, is only reported. Ranks
    agree on the least budget.

    Args:
        cache: folder of the frozen-prefix cache, which is looked at and not filled.
    """
    parts = assembled.parts
    how, cached = decide_prefixes(parts, cache)
    free = _free_for(parts)
    begin = time.perf_counter()
    need, rates = _measured(parts, cached)
    reads_prefix = rates is None or not 0.0 < rates.prefix <= rates.reading
    if rates is not None and not reads_prefix:
        how = (
            f"recomputed: reading it back takes {1e6 * rates.reading:.2g} us a token from memory, computing it "
            f"{1e6 * rates.prefix:.2g}"
        )
        cached = dict.fromkeys(cached, False)
        need, rates = _measured(parts, cached)
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
            "reads_prefix": reads_prefix,
            "reasons": {**parts.plan.reasons, "prefix_cache": how} | ({} if why is None else {"token_budget": why}),
            "wall": {name: float(f"{value:.4g}") for name, value in wall.items()},
        }
    )
    return replace(assembled, parts=replace(parts, plan=plan))


def _measured(parts: Parts, cached: Mapping[str, bool]) -> tuple[Need, Rates | None]:
    """What the probe finds; no rates where memory runs out in it."""
    try:
        return Probe(parts, cached).measure()
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return NO_NEED, None


def expectations(parts: Parts, rates: Rates, cached: Mapping[str, bool]) -> dict[str, float]:
    """What the run is expected to take, in seconds: an epoch with its evaluations, filling the cache, all of it.

    ``tokens_per_second`` is that of training alone, on all ranks.
    """
    epochs, ranks = parts.settings.train.epochs, parts.processes.ranks
    lengths, visits = parts.texts_of(0).lengths, visits_of(parts)
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
        f"memory is short: {size(free)} free, {size(need.under(wanted))} asked by {wanted} tokens in a "
        f"micro-batch, {size(need.under(tokens))} by the {tokens} that are planned. The update stays the same"
    )


def token_costs(parts: Parts, steps: int, run: RunDirectory) -> dict[str, Any]:
    """Tokens of the training texts over `steps` optimizer steps, as three ways of batching count them.

    Args:
        run: whose events say how long its steps took.

    Returns:
        ``tokens_packed`` without padding; ``tokens_dynamic`` with every effective batch padded to its longest text;
        ``tokens_fixed`` with every text padded to `max_length`; ``layers``: how many the encoder keeps; ``wall``:
        the peak memory of this process and of its GPU, the seconds of all steps, and the share of them that waited
        for data.
    """
    settings, per_epoch = parts.settings, parts.steps_per_epoch
    batches = (
        parts.texts_of(epoch * per_epoch).sequence_lengths(rows)
        for epoch in range(settings.train.epochs)
        for rows in parts.epoch(epoch)
    )
    packed = dynamic = sequences = 0
    for lengths in islice(batches, steps):
        packed += int(lengths.sum())
        dynamic += len(lengths) * int(lengths.max())
        sequences += len(lengths)
    return {
        "tokens_packed": packed,
        "tokens_dynamic": dynamic,
        "tokens_fixed": sequences * settings.max_length,
        "layers": parts.network.num_layers,
        "wall": {
            "peak_memory_bytes": peak_memory(),
            **peak_device_memory(parts.device),
            **step_time(run).wall(),
        },
    }


def step_time(run: RunDirectory) -> StepTime:
    """Of all steps that count, whichever attempt made them."""
    total = StepTime()
    for point in read_history(run.events()).steps:
        total.add(point.seconds, point.wait_seconds)
    return total


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
