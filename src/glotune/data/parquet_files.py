"""Parquet files, and any other Arrow batches whose values have to become strings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from glotune.data.label_names import SEVERAL_LABELS
from glotune.data.opening import reading
from glotune.data.rows import CHUNK, ColumnMap, joined_labels, make_batch, number_as_string
from glotune.errors import UserError
from glotune.recipe.schema import Columns


def read_parquet(path: Path, shown: str, columns: Columns, *, need_label: bool = True) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, in order.

    Raises:
        UserError: no Parquet file, an absent column, or a column of a type that holds no text.
    """
    from pyarrow import parquet

    with reading(path, shown):
        try:
            with parquet.ParquetFile(path) as file:
                mapping = ColumnMap(columns, file.schema_arrow.names, shown, need_label=need_label)
                batches = file.iter_batches(CHUNK, columns=list(mapping.names.values()))
                yield from as_rows(batches, mapping, shown)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
            raise UserError(
                f"{shown} can't be read as Parquet ({str(error).splitlines()[0]})",
                expected="a whole Parquet file",
                remedy="Write or download it again",
            ) from error


def as_rows(batches: Iterator[pa.RecordBatch], mapping: ColumnMap, shown: str) -> Iterator[pa.RecordBatch]:
    """Arrow batches with the fields named and typed as in `make_batch`."""
    row = 1
    for batch in batches:
        if batch.num_rows:
            fields = {
                field: as_strings(
                    batch.column(batch.schema.get_field_index(name)), field, name, shown, mapping.delimiter
                )
                for field, name in mapping.names.items()
            }
            yield make_batch(fields, row, shown)
            row += batch.num_rows
    if row == 1:
        raise UserError(f"{shown} is empty", expected="data rows", remedy="Check how it was written")


def as_strings(array: pa.Array, field: str, name: str, shown: str, delimiter: str | None = None) -> pa.Array:
    """A column as strings: numbers and truth values become ``1`` and ``true`` where they may be labels.

    Args:
        delimiter: joins the labels of a list; None: a list is no label.
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    array.validate(full=True)  # ArrowInvalid for bytes that are no UTF-8: Arrow believes its files
    if pa.types.is_string(kind):
        return array
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return array.cast(pa.string())
    plain = field not in ("text", "text_pair")
    numbers = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_decimal)
    if plain and any(is_kind(kind) for is_kind in numbers):
        return _numbers_as_strings(array, name, shown)
    several = plain and (pa.types.is_list(kind) or pa.types.is_large_list(kind))
    if several and field == "label" and delimiter is not None:
        lists = array.to_pylist()
        return pa.array([None if each is None else joined_labels(each, delimiter) for each in lists], pa.string())
    raise UserError(
        f"column '{name}' of {shown} has the type {kind}",
        expected="strings" + (" or numbers" if plain else ""),
        remedy=SEVERAL_LABELS if several else f"Convert it, or set data.columns.{field} to another column",
    )


def _numbers_as_strings(array: pa.Array, name: str, shown: str) -> pa.Array:
    """Each value as `number_as_string` says it, in the digits of its own precision; null and NaN as null."""
    coded = (array.cast(pa.float32()) if pa.types.is_float16(array.type) else array).dictionary_encode()
    values = coded.dictionary.to_pylist()
    if pa.types.is_floating(array.type):  # 4.1 of 32 bits is 4.1, not the 4.099999904632568 of 64
        own = coded.dictionary.to_numpy().astype(array.type.to_pandas_dtype())
        values = [float(str(value)) for value in own]
    try:
        strings = pa.array([number_as_string(value) for value in values], pa.string())
    except ValueError as error:
        raise UserError(f"column '{name}' of {shown} holds {error}", expected="strings or finite numbers") from None
    return strings.take(coded.indices)
