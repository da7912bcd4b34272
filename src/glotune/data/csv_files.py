"""CSV and TSV by RFC 4180 (line breaks inside quoted fields, exact row numbers, broken quoting refused), or unquoted.

Python's csv in strict mode reads a million rows in seconds and knows in which row it is when a quote is wrong;
pyarrow's reader is faster, but takes broken quoting for text. Quoted fields that seem to have swallowed whole rows (a
quote before a text that was never meant to be quoted) are named.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

from glotune.data.opening import first_bad_byte, not_utf8, open_bytes, reading
from glotune.data.rows import CHUNK, ColumnMap, make_batch
from glotune.errors import UserError
from glotune.recipe.data_keys import Quoting
from glotune.recipe.schema import Columns

FIELD_LIMIT = 1 << 27
"""Most characters in one field: far above any document, far below what an unclosed quote could swallow."""


@dataclass(frozen=True)
class CsvForm:
    """How a file is cut into fields."""

    delimiter: str = ","
    quoting: Quoting = "standard"
    """``none``: every quote is a character of the text, and every line end the end of a row."""

    def reader(self, text: IO[str], *, strict: bool) -> Iterator[list[str]]:
        """The records of a file."""
        if self.quoting == "none":
            return csv.reader(text, delimiter=self.delimiter, quoting=csv.QUOTE_NONE, strict=strict)
        return csv.reader(text, delimiter=self.delimiter, strict=strict)


def read_csv(
    path: Path,
    shown: str,
    columns: Columns,
    form: CsvForm,
    *,
    need_label: bool = True,
    swallowing: list[SwallowingRow] | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows of a CSV (or TSV) file, in order.

    Args:
        swallowing: once all rows are read, those are added that seem to have swallowed others.

    Raises:
        UserError: names file and row, for a wrong header, ragged rows, broken quoting, bytes that are not UTF-8.
    """
    with reading(path, shown), open_bytes(path) as file:
        records = records_of(path, shown, file, form)
        _, header = next(records)
        mapping = ColumnMap(columns, header, shown, need_label=need_label).index(header)
        stray = StrayQuotes(shown, form.delimiter, mapping.get("label"))
        yield from _batches(_whole(records, header, stray, shown, form), mapping, shown)
    if swallowing is not None:
        swallowing += stray.found()


def _whole(
    records: Iterator[tuple[int, list[str]]], header: list[str], stray: StrayQuotes, shown: str, form: CsvForm
) -> Iterator[tuple[int, list[str]]]:
    """The rows, each looked at; a ragged one is refused."""
    for row, record in records:
        if len(record) != len(header):
            raise _ragged(shown, row, record, header, form)
        stray.look(row, record)
        yield row, record


def _batches(records: Iterator[tuple[int, list[str]]], mapping: dict[str, int], shown: str) -> Iterator[pa.RecordBatch]:
    held: list[list[str]] = []
    row = 0
    for row, record in records:
        held.append(record)
        if len(held) == CHUNK:
            yield _batch(held, mapping, row, shown)
            held = []
    if held:
        yield _batch(held, mapping, row, shown)


def _batch(records: list[list[str]], mapping: dict[str, int], last_row: int, shown: str) -> pa.RecordBatch:
    fields = {field: [record[index] for record in records] for field, index in mapping.items()}
    return make_batch(fields, last_row - len(records) + 1, shown)


def records_of(path: Path, shown: str, file: IO[bytes], form: CsvForm) -> Iterator[tuple[int, list[str]]]:
    """(row, fields), row 0 being the header; blank lines are no rows."""
    csv.field_size_limit(FIELD_LIMIT)
    row = -1
    try:
        with _text(file, "strict") as text:
            for record in form.reader(text, strict=True):
                if record:
                    row += 1
                    yield row, record
    except UnicodeDecodeError:
        offset, value = first_bad_byte(path, shown)
        raise not_utf8(shown, _row_of_bad_byte(path, form), offset, value) from None
    except csv.Error as error:
        raise _broken(shown, row + 1, error, form) from error
    if row < 0:
        raise UserError(f"{shown} is empty", expected="a header and data rows", remedy="Check how it was written")


def _text(file: IO[bytes], errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors=errors, newline="")


def _row_of_bad_byte(path: Path, form: CsvForm) -> int:
    """The row that holds the first byte that is not UTF-8: read again, with such bytes marked as lone surrogates."""
    row = -1
    with open_bytes(path) as file, _text(file, "surrogateescape") as text:
        try:
            for record in form.reader(text, strict=False):
                row += bool(record)
                if any("\udc80" <= character <= "\udcff" for field in record for character in field):
                    return row
        except csv.Error:
            row += 1
    return row


def _ragged(shown: str, row: int, record: list[str], header: list[str], form: CsvForm) -> UserError:
    quoted = 'Put a field that holds separators or line breaks between double quotes ("…")'
    return UserError(
        f"{len(record)} field{'s' * (len(record) != 1)}, where the header has {len(header)}",
        where=f"{shown}, row {row}",
        expected="as many fields in each row as in the header",
        remedy=quoted if form.quoting == "standard" else f"{quoted} and set data.quoting=standard",
    )


def _broken(shown: str, row: int, error: csv.Error, form: CsvForm) -> UserError:
    where = f"{shown}, row {row}" if row > 0 else f"{shown}, header"
    if "field larger" in str(error):
        found = f"a field of more than {FIELD_LIMIT:,} characters; a quote may never be closed"
    elif "unexpected end" in str(error):
        found = "a quoted field that is never closed"
    else:
        found = f"broken quoting ({error})"
    kind = "a comma" if form.delimiter == "," else "a tab"
    return UserError(
        found,
        where=where,
        expected=f'quoted fields closed before {kind} or the end of the row, and quotes inside them doubled ("")',
        remedy="Mend that row, or set data.quoting=none if quotes mean nothing in this file",
    )


REMEMBERED = 10_000
"""So many different labels, and rows that await their label, are held at most: memory does not grow with the rows."""
LABEL_LENGTH = 200
"""Characters of a label that is remembered."""
_ROWS_SHOWN = 10


@dataclass(frozen=True)
class SwallowingRow:
    """A row of which one quoted field runs over line ends and holds the delimiter, as whole rows would."""

    path: str
    row: int
    """Row in the source file, 1 = the first data row."""
    lines: int
    """Line ends inside the field: the number of rows that may be lost."""


class StrayQuotes:
    """Looks at the rows of one delimited file as they go by.

    In a TSV every such field is suspicious. Texts with commas and line breaks are common in CSV: there the field has to
    hold, where the swallowed row would have its label, a label that other rows have.

    Args:
        path: the file, for messages.
        delimiter: between its fields.
        label: the place of the label in a row; None where none is read.
    """

    def __init__(self, path: str, delimiter: str, label: int | None) -> None:
        self._path, self._delimiter, self._label = path, delimiter, label
        self._labels: set[str] = set()
        self._certain: list[SwallowingRow] = []
        self._waiting: list[tuple[SwallowingRow, str]] = []

    def look(self, row: int, record: list[str]) -> None:
        """Takes the next row."""
        if self._label is not None and len(self._labels) < REMEMBERED and len(record[self._label]) < LABEL_LENGTH:
            self._labels.add(record[self._label].strip())
        for place, field in enumerate(record):
            if self._delimiter in field and ("\n" in field or "\r" in field):
                self._suspect(row, place, field.replace("\r\n", "\n").replace("\r", "\n").split("\n"))

    def found(self) -> list[SwallowingRow]:
        """The suspicious rows, once all have gone by."""
        late = [row for row, label in self._waiting if label in self._labels]
        return sorted([*self._certain, *late], key=lambda swallowing: swallowing.row)

    def _suspect(self, row: int, place: int, lines: list[str]) -> None:
        swallowing = SwallowingRow(self._path, row, len(lines) - 1)
        label = self._label_within(lines, place)
        if self._delimiter == "\t" or (label and label in self._labels):
            self._certain.append(swallowing)
        elif label and len(label) < LABEL_LENGTH and len(self._waiting) < REMEMBERED:
            self._waiting.append((swallowing, label))

    def _label_within(self, lines: list[str], place: int) -> str | None:
        """The label of the first or last swallowed row, if the field at `place` swallowed rows."""
        if self._label is None or place == self._label:
            return None
        if place < self._label:
            parts, wanted = lines[0].split(self._delimiter), self._label - place
            return parts[wanted].strip() if wanted < len(parts) else None
        parts = lines[-1].split(self._delimiter)
        return parts[self._label].strip() if place < len(parts) else None


def about_swallowed(rows: Iterable[SwallowingRow], remedy: str = "set data.quoting=none") -> list[str]:
    """One message per file that has such rows."""
    by_path: dict[str, list[SwallowingRow]] = {}
    for row in rows:
        by_path.setdefault(row.path, []).append(row)
    return [_message(path, its, remedy) for path, its in by_path.items()]


def _message(path: str, rows: list[SwallowingRow], remedy: str) -> str:
    numbers = ", ".join(str(row.row) for row in rows[:_ROWS_SHOWN]) + (", …" if len(rows) > _ROWS_SHOWN else "")
    lost = sum(row.lines for row in rows)
    many, swallowed = "s" * (len(rows) != 1), f"{lost} row{'s' * (lost != 1)}"
    return (
        f"{len(rows)} row{many} of {path} with a quoted field over several lines and delimiters (row{many} {numbers}): "
        f"a stray quote may have swallowed {swallowed}; if quotes mean nothing in this file, {remedy}"
    )
