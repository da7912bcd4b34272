"""Columns of few values (label, language, split): dictionaries of their own in each chunk, worked on chunk by chunk.

A column of plain strings would cost ten bytes a row whenever one is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from glotune.data.spelling import name_of

CODED = pa.dictionary(pa.int16(), pa.string())
"""Type of such a column; a chunk has fewer values than there are codes."""


def encoded(values: pa.Array) -> pa.DictionaryArray:
    """A chunk of strings as codes."""
    return pc.dictionary_encode(values).cast(CODED)


def encoded_names(values: pa.Array) -> pa.DictionaryArray:
    """As `encoded`, each value in the one spelling of its name; two spellings of a name get one code."""
    coded = pc.dictionary_encode(values)
    names = pa.array([name_of(value) for value in coded.dictionary.to_pylist()], pa.string())
    return encoded(values if names.equals(coded.dictionary) else names.take(coded.indices))


def constant(value: str, lengths: Iterable[int]) -> pa.ChunkedArray:
    """A column of one value, in chunks of these lengths that share their memory."""
    sizes = list(lengths)
    zeros = pa.array(np.zeros(max(sizes, default=0), np.int16))
    names = pa.array([value], pa.string())
    parts = [pa.DictionaryArray.from_arrays(zeros.slice(0, size), names) for size in sizes]
    return pa.chunked_array(parts, CODED)


def strings_of(column: pa.ChunkedArray) -> Iterable[pa.StringArray]:
    """The chunks as plain strings, one at a time."""
    return (chunk.cast(pa.string()) for chunk in column.chunks)


def value_counts(column: pa.ChunkedArray) -> Counter[str]:
    """Value -> rows, in the order of their first appearance."""
    found: Counter[str] = Counter()
    for chunk in strings_of(column):
        for each in pc.value_counts(chunk).to_pylist():
            found[each["values"]] += each["counts"]
    return found


def distinct(column: pa.ChunkedArray) -> list[str]:
    """The values, sorted."""
    return sorted({value for chunk in strings_of(column) for value in pc.unique(chunk).to_pylist()})


def is_in(column: pa.ChunkedArray, values: Iterable[str]) -> pa.ChunkedArray:
    """Which rows have one of these values."""
    wanted = pa.array(list(values), pa.string())
    return pa.chunked_array([pc.is_in(chunk, wanted) for chunk in strings_of(column)], pa.bool_())


def codes(column: pa.ChunkedArray, names: list[str]) -> np.ndarray:
    """The place of each row's value in `names`, which hold them all, [N] int32."""
    known = pa.array(names, pa.string())
    return pa.chunked_array([pc.index_in(chunk, known) for chunk in strings_of(column)], pa.int32()).to_numpy()
