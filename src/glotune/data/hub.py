"""Data sets of the Hugging Face Hub, through `datasets`; their own split names stand in for a split column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from glotune.data.parquet_files import as_strings
from glotune.data.rows import CHUNK, ColumnMap, joined_labels, make_batch
from glotune.errors import UserError
from glotune.recipe.schema import Columns


def read_hub(name: str, columns: Columns, *, need_label: bool = True) -> tuple[str, Iterator[pa.RecordBatch]]:
    """Fingerprint and rows of a Hub data set, ``name`` or ``name:config``; rows count through its splits.

    Raises:
        UserError: not to be had (unknown, gated, no network), or its columns are not the recipe's.
    """
    splits = _load(name)
    fingerprint = "-".join(str(splits[split]._fingerprint) for split in sorted(splits))
    return fingerprint, _rows(name, splits, columns, need_label)


def _load(name: str) -> dict[str, Any]:
    import datasets

    repository, _, config = name.partition(":")
    try:
        loaded = datasets.load_dataset(repository, config or None)
    except Exception as error:  # the library raises a dozen kinds, none of them documented
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"'{name}' is neither a file nor a folder here, nor a Hub data set that can be reached ({reason})",
            expected="an existing path, or a data set as name or name:config",
            remedy="Check its spelling and the network",
        ) from error
    return dict(loaded)


def _rows(name: str, splits: dict[str, Any], columns: Columns, need_label: bool) -> Iterator[pa.RecordBatch]:
    row = 1
    for split, dataset in splits.items():
        shown = f"{name} ({split})"
        mapping = ColumnMap(columns, dataset.column_names, shown, need_label=need_label)
        for table in dataset.with_format("arrow").iter(CHUNK):
            fields: dict[str, Any] = {}
            for field, column in mapping.names.items():
                values = table[column].combine_chunks()
                names = getattr(dataset.features[column], "names", None)
                inner = getattr(getattr(dataset.features[column], "feature", None), "names", None)
                if names:
                    fields[field] = names_of(values, names)
                elif inner and mapping.delimiter is not None:
                    fields[field] = _lists_of(values, inner, mapping.delimiter)
                else:
                    fields[field] = as_strings(values, field, column, shown, mapping.delimiter)
            fields.setdefault("split", [split] * table.num_rows)
            yield make_batch(fields, row, shown)
            row += table.num_rows
    if row == 1:
        raise UserError(f"{name} is empty", expected="data rows")


def names_of(values: pa.Array, names: list[str]) -> list[str | None]:
    """Class ids as the names that the data set gives them; -1, the Hub's "no label", as None."""
    return [None if value is None or value < 0 else names[value] for value in values.to_pylist()]


def _lists_of(values: pa.Array, names: list[str], delimiter: str) -> list[str | None]:
    """Lists of class ids as the names that the data set gives them, joined."""
    return [
        None if each is None else joined_labels([names[label] for label in each], delimiter)
        for each in values.to_pylist()
    ]
