"""The frozen prefix of a run, computed once per text where that pays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from glotune.engine.assembly import Assembled
from glotune.engine.parts import Parts
from glotune.engine.recorder import Recorder
from glotune.model.prefix_cache import Filling, cache_prefixes, decide
from glotune.run.records import Change


def with_cached_prefix(assembled: Assembled, cache: Path, recorder: Recorder, stored: list[Change]) -> Assembled:
    """The same run, reading the output of its frozen layers from a store; unchanged where that does not pay.

    Args:
        stored: the changes of an earlier attempt: splits that it cached and this one can't are a deviation.
    """
    parts = assembled.parts
    if parts.settings.speed.prefix_cache == "off":
        return assembled
    states = partial(parts.forward, through=parts.network.prefix)
    filling = Filling(parts.network, states, parts.plan.precision, parts.device, parts.id_map)
    prefixes = cache_prefixes(
        filling,
        parts.stores,
        visits_of(parts),
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
    visits, precision = visits_of(parts), speed.prefix_precision
    decided = {
        split: decide(network, store, visits=visits[split], precision=precision, cache=cache)
        for split, store in parts.stores.items()
    }
    reasons: dict[str, list[str]] = {}
    for split, decision in decided.items():
        reasons.setdefault(decision.reason, []).append(split)
    how = "; ".join(f"{', '.join(splits)}: {reason}" for reason, splits in reasons.items())
    return how, {split: decision.use for split, decision in decided.items()}


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
