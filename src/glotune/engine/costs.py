"""What a run computed, and what it would have computed padded."""

from __future__ import annotations

import resource
import sys
from itertools import islice
from typing import Any

from glotune.engine.parts import Parts
from glotune.engine.step import StepTime
from glotune.run.directory import RunDirectory
from glotune.run.history import read_history


def token_costs(parts: Parts, steps: int, run: RunDirectory) -> dict[str, Any]:
    """Tokens of the training texts over `steps` optimizer steps, as three ways of batching count them.

    Args:
        run: whose events tell how long its steps took.

    Returns:
        ``tokens_packed`` without padding; ``tokens_dynamic`` with every effective batch padded to its longest text;
        ``tokens_fixed`` with every text padded to `max_length`; ``layers``: how many the encoder keeps; ``wall``:
        the peak memory of this process, the seconds of all steps, and the share of them that waited for data.
    """
    settings, store = parts.settings, parts.stores["train"]
    batches = (store.lengths[rows] for epoch in range(settings.train.epochs) for rows in parts.epoch(epoch))
    packed = dynamic = texts = 0
    for lengths in islice(batches, steps):
        packed += int(lengths.sum())
        dynamic += len(lengths) * int(lengths.max())
        texts += len(lengths)
    return {
        "tokens_packed": packed,
        "tokens_dynamic": dynamic,
        "tokens_fixed": texts * settings.max_length,
        "layers": parts.network.num_layers,
        "wall": {"peak_memory_bytes": peak_memory(), **step_time(run).figures()},
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
