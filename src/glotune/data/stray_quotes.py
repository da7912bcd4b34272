"""Quoted fields that seem to have swallowed whole rows: a quote before a text that was never meant to be quoted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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
