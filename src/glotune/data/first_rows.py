"""Which rows have the same text, by the hashes of the texts: for millions of rows in little memory."""

from __future__ import annotations

import numpy as np

from glotune.data.mapped_arrays import chunks, gather, zeros

TOGETHER = 1 << 18
"""About as many rows as are sorted at once."""


def first_rows(keys: np.ndarray) -> np.ndarray:
    """For each row the first row with the same key, [N] int32 (int64 beyond two thousand million rows).

    Rows are sorted a part of the hashes at a time: equal keys fall into the same part.

    Args:
        keys: [N] int64 hashes, spread evenly over their range.
    """
    count = len(keys)
    first = zeros(count, np.int32 if count < 1 << 31 else np.int64)
    bits = max(count // TOGETHER, 0).bit_length()
    for number in range(1 << bits):
        rows = _rows_of_part(keys, number, bits)
        part = keys[rows]
        order = np.argsort(part, kind="stable")
        arranged = part[order]
        begins = np.flatnonzero(np.concatenate([[True], arranged[1:] != arranged[:-1]])) if len(part) else order
        lengths = np.diff(np.append(begins, len(part)))
        first[rows[order]] = np.repeat(rows[order[begins]], lengths)
    return first


def _rows_of_part(keys: np.ndarray, number: int, bits: int) -> np.ndarray:
    """The rows whose key has `number` in its topmost `bits`, in order."""
    if bits == 0:
        return np.arange(len(keys))
    unsigned = keys.view(np.uint64)
    shift = np.uint64(64 - bits)
    found = [part.start + np.flatnonzero(unsigned[part] >> shift == number) for part in chunks(len(keys))]
    return np.concatenate(found)


def is_among(keys: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    """Which of `keys` [N] stand in any of the other lists of keys, [N] bool; only `keys` are sorted."""
    arranged = sorted_copy(keys)
    seen = zeros(len(keys), bool)
    if not len(keys):
        return seen
    for other in others:
        for part in chunks(len(other)):
            places, hits = _places(arranged, other[part])
            seen[places[hits]] = True
    found = (seen[np.searchsorted(arranged, keys[part])] for part in chunks(len(keys)))
    return gather(found, len(keys), bool)


def sorted_copy(keys: np.ndarray) -> np.ndarray:
    """The keys in order, sorted in place where they lie."""
    arranged = gather((keys[part] for part in chunks(len(keys))), len(keys), keys.dtype)
    arranged.sort()
    return arranged


def _places(arranged: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First place of each wanted key in the sorted ones, and whether it stands there."""
    places = np.searchsorted(arranged, wanted)
    places[places == len(arranged)] = 0
    return places, arranged[places] == wanted
