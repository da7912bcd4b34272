"""Arrays with an entry per row that cost no memory of their own: large ones lie in a nameless temporary file.

Their pages belong to the system's file cache, which writes them out and takes them back as it needs room. Whoever works
on all rows does so a chunk at a time, so that what NumPy makes on the way stays small too.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from glotune.errors import UserError

LIMIT = 1 << 20
"""Bytes of an array that is kept in memory."""
CHUNK = 1 << 16
"""Rows that are worked on together."""


def zeros(shape: int | tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An array of zeros; beyond `LIMIT` bytes in a temporary file that goes with the last reference.

    Raises:
        UserError: the temporary folder has no room for it.
    """
    dimensions = (shape,) if isinstance(shape, int) else shape
    size = math.prod(dimensions) * np.dtype(dtype).itemsize
    if size <= LIMIT:
        return np.zeros(dimensions, dtype)
    try:
        with tempfile.TemporaryFile(prefix="glotune-") as file:
            _allocate(file.fileno(), size)
            return np.asarray(np.memmap(file, dtype, "r+", shape=dimensions))
    except OSError as error:
        raise UserError(
            f"the temporary folder {tempfile.gettempdir()} can't be written ({error.strerror or error})",
            expected=f"{size / 2**20:.0f} MB for numbers of the rows",
            remedy="Free some, or name another folder in TMPDIR",
        ) from error


def _allocate(descriptor: int, size: int) -> None:
    """Room on the disk now: a page of a map that finds none later would end the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def chunks(count: int, size: int | None = None) -> Iterator[slice]:
    """The places 0 to `count`, `CHUNK` (or `size`) at a time."""
    step = size or CHUNK
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def numbers(count: int) -> np.ndarray:
    """0 to `count` - 1, int64."""
    found = zeros(count, np.int64)
    for part in chunks(count):
        found[part] = np.arange(part.start, part.stop)
    return found


def gather(parts: Iterable[np.ndarray], count: int, dtype: DTypeLike) -> np.ndarray:
    """Arrays of `count` entries in all as one, in order; parts may be made one at a time."""
    whole, done = zeros(count, dtype), 0
    for part in parts:
        whole[done : done + len(part)] = part
        done += len(part)
    return whole


def chosen(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``values[mask]`` for [N] values; the caller's own, save where the mask is all true."""
    count = int(np.count_nonzero(mask))
    if count == len(values):
        return values
    return gather((values[part][mask[part]] for part in chunks(len(values))), count, values.dtype)


def places(mask: np.ndarray) -> np.ndarray:
    """Where `mask` [N] is true, int64."""
    found = (part.start + np.flatnonzero(mask[part]) for part in chunks(len(mask)))
    return gather(found, int(np.count_nonzero(mask)), np.int64)


def counts(codes: np.ndarray, size: int) -> np.ndarray:
    """How often each of 0 to `size` - 1 stands in `codes` [N], [size] int64."""
    found = np.zeros(size, np.int64)
    for part in chunks(len(codes)):
        found += np.bincount(codes[part], minlength=size)
    return found


def sums(codes: np.ndarray, values: Any, size: int) -> np.ndarray:
    """The sum of whole `values` [N] for each of 0 to `size` - 1 in `codes` [N], [size] int64."""
    found = np.zeros(size, np.int64)
    for part in chunks(len(codes)):
        np.add.at(found, codes[part], values[part])
    return found


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Where each of N things begins that lie end to end, and where the last one ends, [N + 1] int64."""
    found = zeros(len(lengths) + 1, np.int64)
    for part in chunks(len(lengths)):
        ends = slice(part.start + 1, part.stop + 1)
        found[ends] = found[part.start] + np.cumsum(lengths[part], dtype=np.int64)
    return found


def distinct(values: np.ndarray) -> np.ndarray:
    """The different values, sorted; memory for as many as there are."""
    parts = [np.unique(values[part]) for part in chunks(len(values), 1 << 20)]
    return np.unique(np.concatenate(parts)) if parts else np.unique(values)
