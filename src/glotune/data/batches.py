"""Which texts make one optimizer step, and how a step is cut into micro-batches.

The effective batch is a plain seeded shuffle's and knows nothing of lengths or devices; only its cut does. So the
same seed trains on the same batches whatever the machine, and the cut can't change the update (contract C2).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Batching = Literal["packed", "dynamic", "fixed"]


def epoch_order(languages: NDArray[np.int16], seed: int, epoch: int, sampling_alpha: float | None) -> Rows:
    """The order of one epoch's texts: a function of (seed, epoch) alone.

    Args:
        languages: [N] language of every training text.
        sampling_alpha: None visits every text once. Otherwise language l gets a share of the N visits
            proportional to ``n_l ** alpha`` (Conneau & Lample 2019, arXiv:1901.07291, section 3.1): whole rounds
            over its texts, then a part of one without repetition.
    """
    # Seeded from (seed, epoch), not drawn on from the epoch before: a resume needs no generator state (C6).
    generator = np.random.default_rng([seed, epoch])
    count = len(languages)
    if sampling_alpha is None:
        return generator.permutation(count)
    codes, sizes = np.unique(languages, return_counts=True)
    drawn = [
        _rounds(np.flatnonzero(languages == code), visits, generator)
        for code, visits in zip(codes, _shares(sizes.astype(float) ** sampling_alpha, count), strict=True)
    ]
    return generator.permutation(np.concatenate(drawn))


def _shares(weights: NDArray[np.float64], total: int) -> list[int]:
    """Whole numbers proportional to `weights` that add up to `total` (largest remainders)."""
    exact = weights / weights.sum() * total
    whole = np.floor(exact).astype(int)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: total - whole.sum()]] += 1
    return [int(share) for share in whole]


def _rounds(rows: Rows, visits: int, generator: np.random.Generator) -> Rows:
    full, rest = divmod(visits, len(rows))
    return np.concatenate([np.tile(rows, full), generator.permutation(rows)[:rest]])


def effective_batches(order: Rows, batch_size: int) -> list[Rows]:
    """The order in pieces of `batch_size`; the last one may be smaller and is kept."""
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def shard(rows: Rows, lengths: NDArray[np.int64], rank: int, ranks: int) -> Rows:
    """This rank's part of an effective batch: every `ranks`-th text by length, so that tokens are balanced.

    A rank's part may be empty when the batch has fewer texts than there are ranks.
    """
    if ranks == 1:
        return rows
    # By length, every rank's i-th text is about as long as the others': none waits for a rank with the long texts.
    return by_length(rows, lengths)[rank::ranks]


def by_length(rows: Rows, lengths: NDArray[np.integer[Any]]) -> Rows:
    """The rows by the length of their texts, those of one length in their order."""
    return rows[np.argsort(lengths[rows], kind="stable")]


def cut(
    rows: Rows, lengths: NDArray[np.int64], token_budget: int, batching: Batching = "packed", max_length: int = 0
) -> Iterator[tuple[Rows, int | None]]:
    """Cuts texts into micro-batches of similar length that fit the budget.

    The budget counts tokens as the attention product sees them: texts times the longest of them (times
    `max_length` for ``fixed``). A text longer than the budget makes a micro-batch of its own.

    Yields:
        The rows of a micro-batch, and the length to pad to (None for ``packed``).
    """
    if batching == "fixed":
        size = max(1, token_budget // max_length)
        for start in range(0, len(rows), size):
            yield rows[start : start + size], max_length
        return
    arranged = by_length(rows, lengths)
    start = 0
    for stop in range(1, len(arranged) + 1):
        is_last = stop == len(arranged)
        # Ascending: the next text would be the longest, and the attention product pads all others to it.
        if is_last or (stop + 1 - start) * int(lengths[arranged[stop]]) > token_budget:
            piece = arranged[start:stop]
            yield piece, (int(lengths[piece[-1]]) if batching == "dynamic" else None)
            start = stop
