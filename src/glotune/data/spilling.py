"""Tables that stay on disk: beyond a limit, rows go to a temporary Arrow file and are mapped into memory.

A million texts then cost the process a few megabytes; the pages that are read belong to the system's file cache.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from glotune.errors import UserError

LIMIT = 4 << 20
"""Bytes of rows of one table that are kept in memory."""


def collect(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """The batches as one table; what exceeds `LIMIT` bytes is written to disk as it comes.

    Raises:
        UserError: the temporary folder can't be written.
        ValueError: no batch at all.
    """
    held: list[pa.RecordBatch] = []
    size = 0
    rest = iter(batches)
    for batch in rest:
        held.append(batch)
        size += batch.nbytes
        if size > LIMIT:
            return _spilled(_chained(held, rest), batch.schema)
    return pa.Table.from_batches(held)


def keep(table: pa.Table, mask: Any) -> pa.Table:
    """The rows of `table` where `mask` [N] (NumPy or Arrow booleans) is true; in memory only where they are few."""
    mask = mask if isinstance(mask, pa.Array | pa.ChunkedArray) else pa.array(mask)
    if pc.all(mask).as_py():
        return table
    if table.nbytes <= LIMIT:
        return table.filter(mask)

    def parts() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in table.to_batches():
            yield from pa.Table.from_batches([batch]).filter(mask.slice(start, batch.num_rows)).to_batches()
            start += batch.num_rows

    return _spilled(parts(), table.schema)


def _chained(held: list[pa.RecordBatch], rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """First the batches that were held, each let go of once it is taken, then the rest."""
    while held:
        yield held.pop(0)
    yield from rest


def _spilled(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """The batches in a temporary file that has no name any more, mapped; it goes with the last reference."""
    try:
        descriptor, name = tempfile.mkstemp(prefix="glotune-", suffix=".arrow")
    except OSError as error:
        raise _unwritable(tempfile.gettempdir(), error) from error
    path = Path(name)
    try:
        # The stream format, because each batch has its own dictionaries.
        with os.fdopen(descriptor, "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for batch in batches:
                _write(writer, batch, path)
        return pa.ipc.open_stream(pa.memory_map(name)).read_all()
    finally:
        path.unlink()


def _write(writer: Any, batch: pa.RecordBatch, path: Path) -> None:
    try:
        writer.write_batch(batch)
    except OSError as error:
        raise _unwritable(str(path.parent), error) from error


def _unwritable(folder: str, error: OSError) -> UserError:
    return UserError(
        f"the temporary folder {folder} can't be written ({error.strerror or error})",
        expected="free space for a copy of the texts",
        remedy="Free some, or name another folder in TMPDIR",
    )
