"""JSON lines: one object per line, gzipped or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from glotune.data.label_names import SEVERAL_LABELS
from glotune.data.opening import not_utf8, open_bytes, reading
from glotune.data.rows import CHUNK, ColumnMap, fields_of, joined_labels, make_batch, number_as_string
from glotune.errors import UserError
from glotune.recipe.schema import Columns


def read_jsonl(path: Path, shown: str, columns: Columns, *, need_label: bool = True) -> Iterator[pa.RecordBatch]:
    """The rows of a JSON lines file, in order; blank lines are no rows.

    Raises:
        UserError: names file and row, for bytes that are not UTF-8, lines that are no objects, absent columns and
            values that are no text.
    """
    names = fields_of(columns, need_label=need_label)
    held: list[dict[str, Any]] = []
    header: list[str] | None = None
    row = 0
    with reading(path, shown):
        for row, record in _objects(path, shown):
            if list(record) != header:
                header = list(record)
                mapping = ColumnMap(columns, header, f"{shown}, row {row}", need_label=need_label).names
            held.append({field: record[name] for field, name in mapping.items()})
            if len(held) == CHUNK:
                yield _batch(held, names, row, shown, columns.delimiter)
                held = []
    if held:
        yield _batch(held, names, row, shown, columns.delimiter)
    if not row:
        raise UserError(f"{shown} is empty", expected="one JSON object per line", remedy="Check how it was written")


def _objects(path: Path, shown: str) -> Iterator[tuple[int, dict[str, Any]]]:
    row = offset = 0
    with open_bytes(path) as file:
        for line in file:
            content = line.removeprefix(b"\xef\xbb\xbf") if offset == 0 else line
            if content.strip():
                row += 1
                yield row, _object(content, shown, row, offset + len(line) - len(content))
            offset += len(line)


def _object(line: bytes, shown: str, row: int, offset: int) -> dict[str, Any]:
    where, expected = f"{shown}, row {row}", "one JSON object per line"
    try:
        record = json.loads(line.decode("utf-8").rstrip())
    except UnicodeDecodeError as error:
        raise not_utf8(shown, row, offset + error.start, line[error.start]) from None
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg}, character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)
        array = row == 1 and line.lstrip().startswith(b"[")
        remedy = "Write the array's objects on a line each" if array else "Mend that line"
        raise UserError(f"no valid JSON ({reason})", where=where, expected=expected, remedy=remedy) from error
    if not isinstance(record, dict):
        kind = "an array" if isinstance(record, list) else f"the value {str(record)[:60]!r}"
        raise UserError(f"{kind} instead of an object", where=where, expected=expected)
    return record


def _batch(
    records: list[dict[str, Any]], names: dict[str, str], last_row: int, shown: str, delimiter: str | None
) -> pa.RecordBatch:
    """The rows (field -> value) as strings; `names` says what the fields are called in messages."""
    first = last_row - len(records) + 1
    fields: dict[str, list[str | None]] = {}
    for field, name in names.items():
        values = [_plain(record.get(field), delimiter if field == "label" else None) for record in records]
        plain = field not in ("text", "text_pair")
        fields[field] = [
            value if value is None or isinstance(value, str) else _string(value, name, plain, f"{shown}, row {row}")
            for row, value in enumerate(values, first)
        ]
    return make_batch(fields, first, shown)


def _plain(value: Any, delimiter: str | None) -> Any:
    """A list of labels as one string, where lists are awaited."""
    is_list = delimiter is not None and isinstance(value, list) and all(isinstance(each, str | int) for each in value)
    return joined_labels(value, str(delimiter)) if is_list else value


def _string(value: Any, name: str, plain: bool, where: str) -> str | None:
    """Numbers and truth values as strings, only where `plain` values may stand; NaN, as no value at all, as None."""
    if isinstance(value, float) and value != value:
        return None
    if plain and isinstance(value, int | float):
        try:
            return number_as_string(value)
        except ValueError as error:
            raise UserError(f"'{name}' is {error}", where=where, expected="a string or a finite number") from None
    expected = "a string or a number" if plain else "a string"
    remedy = SEVERAL_LABELS if plain and isinstance(value, list) else None
    raise UserError(f"'{name}' is {json.dumps(value)[:80]}", where=where, expected=expected, remedy=remedy)
