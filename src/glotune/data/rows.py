"""What every reader of a file format yields, and the checks that all of them share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from glotune.data.spelling import name_of
from glotune.errors import UserError, did_you_mean, nearest
from glotune.recipe.schema import Columns

CHUNK = 8192
"""Rows per batch: large enough for columnar work, small enough that memory stays flat."""

FIELDS = ("text", "text_pair", "label", "language", "split", "weight", "id")
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", ",": "commas"}
"""What a file whose header is one column may have been meant to be cut by."""
LONGEST_NAME = 60
"""Characters of a column's name that messages show; longer ones are no names."""
CELL = "\u241f"
"""Between the cells of a row's labels, where they stand in several columns or in a list; no name holds it."""
_COLUMN_OF_LABELS = "label."
"""Begins the field of each of several columns of labels: ``label.0``, ``label.1`` ..."""
_COLUMN_OF_VOTES = "label.votes."
"""The same for columns of votes."""


def fields_of(columns: Columns, *, need_label: bool = True) -> dict[str, str]:
    """Field -> the column that the recipe names for it; several columns of labels are a field each."""
    names: dict[str, str] = {}
    for field in FIELDS:
        several = columns.labels or columns.columns_of_votes
        if field == "label" and several:
            begin = _COLUMN_OF_LABELS if columns.labels is not None else _COLUMN_OF_VOTES
            if need_label:
                names |= {f"{begin}{place}": name for place, name in enumerate(several)}
        elif (name := getattr(columns, field)) is not None and (field != "label" or need_label):
            names[field] = name
    return names


def is_label(field: str) -> bool:
    """Whether a field is the column of labels, or one of several."""
    return field == "label" or field.startswith(_COLUMN_OF_LABELS)


class ColumnMap:
    """Which columns of one file hold what. Text, label and a named weight must be there; language and split may be.

    A column is found under another spelling of its name too (blanks around it, zero-width characters, NFD), where
    none has the very name; `names` holds the file's own.

    Args:
        columns: the names that the recipe gives.
        header: the names that the file has.
        path: the file, for messages.
        need_label: False where the texts are only to be predicted, or bring labels of other rows: labels that the file
            has stay unread.

    Raises:
        UserError: a needed column is absent, or its name stands there twice.
    """

    def __init__(self, columns: Columns, header: Sequence[str], path: str, *, need_label: bool = True) -> None:
        self.names: dict[str, str] = {}
        self.delimiter = columns.delimiter
        missing: dict[str, str] = {}
        twice: list[str] = []
        for field, name in fields_of(columns, need_label=need_label).items():
            needed = field in ("text", "text_pair", "weight") or is_label(field)
            found = _columns_named(name, header)
            if found:
                self.names[field] = found[0]
                twice += [name] if len(found) > 1 else []
            elif needed:
                missing[field] = name
        if missing:
            raise _missing_columns(missing, header, path)
        if twice:
            raise UserError(f"{path} has two columns named '{twice[0]}'", expected="each column name once")

    def __contains__(self, field: str) -> bool:
        return field in self.names

    def index(self, header: Sequence[str]) -> dict[str, int]:
        """Field -> position in a row."""
        return {field: list(header).index(name) for field, name in self.names.items()}


def _columns_named(name: str, header: Sequence[str]) -> list[str]:
    exact = [column for column in header if column == name]
    return exact or [column for column in header if name_of(column) == name_of(name)]


def _missing_columns(missing: dict[str, str], header: Sequence[str], path: str) -> UserError:
    """All absent columns at once (field -> name), each with the nearest that the file has."""
    there = ", ".join(f"'{_in_short(column)}'" for column in header[:20]) + (", …" if len(header) > 20 else "")
    if any(len(column) > LONGEST_NAME for column in header):
        there += ": is its first row a text, and no header?"
    keys = " and ".join(dict.fromkeys(f"data.columns.{_key(field)}" for field in missing))
    mark = max(SEPARATORS, key=header[0].count) if len(header) == 1 else ""
    if mark and mark in header[0]:
        wanted = " and ".join(f"'{name}'" for name in missing.values())
        return UserError(
            f"{path} has one column only, named {there}: its columns seem to be separated by {SEPARATORS[mark]}",
            expected=f"a column {wanted} ({keys})" if len(missing) == 1 else f"columns {wanted} ({keys})",
            remedy="Commas separate the columns of a .csv file, tabs those of a .tsv file"
            + {",": ": name it .csv", "\t": ": name it .tsv"}.get(mark, ""),
        )
    if len(missing) > 1:
        free = [column for column in header if column not in missing.values()]
        names = " and no column ".join(_absent(name, free) for name in missing.values())
        return UserError(
            f"{path} has no column {names}; its columns are {there}",
            expected=f"the columns that {keys} name{'s' * (' and ' not in keys)}",
            remedy="Set them together: " + " ".join(_settings(missing, free)),
        )
    field, name = next(iter(missing.items()))
    guess = did_you_mean(name, header)
    return UserError(
        f"{path} has no column '{name}'; its columns are {there}",
        expected=f"the column that data.columns.{_key(field)} names" + (f". {guess}" if guess else ""),
        remedy=f"Set data.columns.{_key(field)} to the right one{'s' * (field != _key(field))}",
    )


def _in_short(column: str) -> str:
    return column if len(column) <= LONGEST_NAME else column[:LONGEST_NAME] + "…"


def _key(field: str) -> str:
    """The recipe's key of a field."""
    if field.startswith(_COLUMN_OF_VOTES):
        return "votes"
    return "labels" if field.startswith(_COLUMN_OF_LABELS) else field


def _absent(name: str, there: Sequence[str]) -> str:
    close = nearest(name, there)
    return f"'{name}' (did you mean '{close}'?)" if close else f"'{name}'"


def _settings(missing: Mapping[str, str], there: Sequence[str]) -> Iterator[str]:
    """``data.columns.text=title``; several columns of labels in one list, those of votes by their classes."""
    names = [nearest(name, there) or "NAME" for field, name in missing.items() if _key(field) == "labels"]
    for field, name in missing.items():
        if _key(field) not in ("labels", "votes"):
            yield f"data.columns.{field}={nearest(name, there) or 'NAME'}"
    if names:
        yield f"data.columns.labels=[{', '.join(names)}]"
    if any(_key(field) == "votes" for field in missing):
        yield "data.columns.votes={CLASS: COLUMN, …}"


def joined_labels(values: Sequence[Any], delimiter: str) -> str:
    """The labels of a list as one string; of an empty list the delimiter alone, which names none."""
    return delimiter.join(str(value) for value in values) or delimiter


def number_as_string(value: bool | int | float | Decimal) -> str | None:
    """A number or truth value as the string that a recipe writes (``1``, ``2.5``, ``true``); None for NaN.

    Raises:
        ValueError: an infinite number.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if value != value:
        return None
    if value in (float("inf"), float("-inf")):
        raise ValueError("an infinite number")
    if value == int(value):
        return str(int(value))
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def make_batch(fields: dict[str, Any], first_row: int, path: str) -> pa.RecordBatch:
    """One batch of rows as strings, blanks around label, language and split cut off.

    Args:
        fields: field name -> sequence of strings (None: nothing there), all of one length.
        first_row: row number of the first of them.
        path: the file, for messages.

    Raises:
        UserError: a value holds a NUL character or half a surrogate pair.
    """
    arrays: dict[str, pa.Array] = {}
    for field, values in fields.items():
        array = values if isinstance(values, pa.Array) else _string_array(values, field, first_row, path)
        _refuse_nul(array, field, first_row, path)
        arrays[field] = array if field in ("text", "text_pair") else pc.utf8_trim_whitespace(array)
    cells = [arrays.pop(field) for field in list(arrays) if field.startswith(_COLUMN_OF_LABELS)]
    if cells:
        arrays["label"] = _joined_cells(cells)
    count = len(arrays["text"])
    arrays["row"] = pa.array(range(first_row, first_row + count), pa.int32())
    return pa.RecordBatch.from_pydict(arrays)


def _joined_cells(cells: Sequence[pa.Array]) -> pa.Array:
    """The cells of each row as one string; nothing where all are empty."""
    filled = [pc.fill_null(cell, "") for cell in cells]
    joined = pc.binary_join_element_wise(*filled, CELL)
    return pc.if_else(pc.equal(joined, CELL * (len(cells) - 1)), "", joined)


def _string_array(values: Sequence[str | None], field: str, first_row: int, path: str) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        raise half_character(values, field, first_row, path) from None


def half_character(values: Iterable[Any], field: str, first_row: int, path: str) -> UserError:
    """The error about the first value that is not `encodable`."""
    row = first_row + next(i for i, value in enumerate(values) if not encodable(value))
    return UserError(
        f"half of a surrogate pair in column '{field}'",
        where=f"{path}, row {row}",
        expected="valid Unicode",
        remedy="Write the character itself, or both halves of its escape",
    )


def encodable(value: Any) -> bool:
    """Whether a value is no string with half of a surrogate pair, nor a list with such a one."""
    if isinstance(value, list | tuple):
        return all(map(encodable, value))
    try:
        if isinstance(value, str):
            value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_nul(array: pa.Array, field: str, first_row: int, path: str) -> None:
    positions = pc.indices_nonzero(pc.fill_null(pc.match_substring(array, "\0"), False))
    if len(positions):
        raise UserError(
            f"a NUL character in column '{field}'",
            where=f"{path}, row {first_row + positions[0].as_py()}",
            expected="text",
            remedy="Remove the character; a file full of them may be UTF-16: save it as UTF-8",
        )
