"""One effective batch of the quickstart, laid out in three ways at one scale: the area is what is computed."""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from documentation.svg import BLUE, FAINT, MUTED, SKY, Drawing
from documentation.toy_tokens import toy_tokens
from glotune.data.batches import Batching, cut, effective_batches, epoch_order

TOKEN, ROW, LEFT = 10.0, 5.0, 24.0
BUDGET = 2048
"""Tokens in a micro-batch: what a CPU run of the quickstart plans."""


def packing() -> Drawing:
    """Texts of one batch as rows of tokens: padded to `max_length`, to the longest, and packed."""
    toy = toy_tokens()
    store, size = toy.stores["train"], toy.recipe.train.batch_size
    order = epoch_order(store.languages, toy.recipe.seed, 0, None)
    rows = effective_batches(order, size)[0].astype(np.int64)
    longest = toy.recipe.data.max_length
    drawing = Drawing(
        760, 520, f"{size} texts of the quickstart padded to {longest} tokens, to the longest, and packed"
    )
    top = 20.0
    for batching in ("fixed", "dynamic", "packed"):
        top = _layout(drawing, top, batching, rows, store.lengths, longest)
    drawing.height = top
    return drawing


def _layout(
    drawing: Drawing, top: float, batching: Batching, rows: np.ndarray, lengths: np.ndarray, longest: int
) -> float:
    """Draws one layout below `top`; returns where the next may begin."""
    computed, corner = 0, top + 16
    for piece, pad_to in cut(rows, lengths, BUDGET, batching, longest):
        sizes = [int(length) for length in lengths[piece]]
        computed += sum(sizes) if pad_to is None else pad_to * len(sizes)
        corner = _packed(drawing, corner, sizes, longest) if pad_to is None else _padded(drawing, corner, sizes, pad_to)
    kept = int(lengths[rows].sum())
    share = "nothing is padding" if computed == kept else f"{1 - kept / computed:.0%} of it padding"
    drawing.words(LEFT, top, f"{_NAMES[batching]}: {computed:,} tokens computed, {share}", bold=True)
    return corner + 34


_NAMES: dict[Batching, str] = {
    "fixed": "batching: fixed (every text padded to max_length)",
    "dynamic": "batching: dynamic (padded to the longest)",
    "packed": "batching: packed (end to end)",
}


def _padded(drawing: Drawing, top: float, sizes: list[int], pad_to: int) -> float:
    for number, size in enumerate(sizes):
        y = top + number * ROW
        drawing.rect(LEFT, y, size * TOKEN, ROW - 1, BLUE)
        drawing.rect(LEFT + size * TOKEN, y, (pad_to - size) * TOKEN, ROW - 1, FAINT)
    return top + len(sizes) * ROW


def _packed(drawing: Drawing, top: float, sizes: list[int], per_line: int) -> float:
    """Texts in two colours by turns, the line broken after `per_line` tokens for the eye only."""
    height = 3 * ROW
    for number, (size, start) in enumerate(zip(sizes, accumulate(sizes, initial=0), strict=False)):
        stop = start + size
        while start < stop:
            line, column = divmod(start, per_line)
            width = min(stop - start, per_line - column)
            colour = BLUE if number % 2 else SKY
            drawing.rect(LEFT + column * TOKEN, top + line * height, width * TOKEN, height - 2, colour)
            start += width
    bounds = ", ".join(str(bound) for bound in list(accumulate(sizes, initial=0))[:8])
    bottom = top + -(-sum(sizes) // per_line) * height
    drawing.words(LEFT, bottom + 16, f"cu_seqlens = [{bounds}, …]: where each text begins", size=12, colour=MUTED)
    return bottom + 10
