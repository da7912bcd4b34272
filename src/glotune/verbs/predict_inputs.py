"""Texts to predict, from a file or standard input, row by row: text lines, CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import pyarrow as pa

from glotune.data.csv_files import CsvForm, SwallowingRow, read_csv
from glotune.data.encoding import Text
from glotune.data.jsonl_files import read_jsonl
from glotune.data.opening import decoded_lines, is_stream, open_bytes, reading
from glotune.data.parquet_files import read_parquet
from glotune.data.sources import kind_of
from glotune.data.spelling import is_blank
from glotune.data.streams import on_disk
from glotune.errors import UserError
from glotune.recipe.data_keys import Quoting
from glotune.recipe.paths import meant_beside
from glotune.recipe.schema import Columns

Format = Literal["text", "csv", "tsv", "jsonl", "parquet"]
STDIN = "-"
_NONE = "\x00none"
"""No column has this name: labels and languages of the input stay unread."""


@dataclass(frozen=True)
class Row:
    """One text to predict, with its row: 1 is the first line of a text file, or the first data row."""

    number: int
    text: Text


@dataclass
class Inputs:
    """The rows of one input.

    Args:
        source: a file, or ``-`` for standard input.
        format: None: by the file's name; text lines on standard input.
        text: name of the column with the texts.
        text_pair: name of the column with the second texts, None for single texts.
        skip_empty: leave rows with an empty text out, and list them in `skipped`; an error otherwise.
        quoting: of a CSV or TSV file, as ``data.quoting``. Rows that seem to have swallowed others by a stray quote are
            listed in `swallowing` once all are read.
        is_fixed: columns and quoting are those of a run: the command has no options for them that messages could name.
    """

    source: str
    format: Format | None = None
    text: str = "text"
    text_pair: str | None = None
    skip_empty: bool = False
    quoting: Quoting = "standard"
    is_fixed: bool = False
    skipped: list[int] = field(default_factory=list)
    swallowing: list[SwallowingRow] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """The source for messages."""
        return "standard input" if self.source == STDIN else self.source

    def rows(self) -> Iterator[Row]:
        """The rows in order; memory does not grow with their number.

        Raises:
            UserError: names file and row, for what can't be read and for an empty text.
        """
        for row in self._read():
            parts = row.text if isinstance(row.text, tuple) else (row.text,)
            if not any(part is None or is_blank(part) for part in parts):
                yield row
            elif self.skip_empty:
                self.skipped.append(row.number)
            else:
                raise UserError(
                    "an empty text",
                    where=f"{self.shown}, row {row.number}",
                    expected="a text to predict",
                    remedy="--skip-empty leaves such rows out and counts them",
                )

    def _read(self) -> Iterator[Row]:
        kind = self._kind()
        if kind == "text":
            if self.text_pair is not None:
                raise UserError(
                    "text lines hold no pairs",
                    where=self.shown,
                    expected=f"CSV or JSON lines with the columns '{self.text}' and '{self.text_pair}'",
                )
            yield from self._lines()
            return
        columns = Columns(text=self.text, text_pair=self.text_pair, label=_NONE, language=_NONE, split=_NONE)
        with self._path(kind) as path, self._retold():
            for batch in self._batches(kind, path, columns):
                texts, numbers = batch.column("text").to_pylist(), batch.column("row").to_pylist()
                pairs = batch.column("text_pair").to_pylist() if self.text_pair is not None else None
                for index, number in enumerate(numbers):
                    yield Row(number, texts[index] if pairs is None else (texts[index], pairs[index]))

    def _batches(self, kind: Format, path: Path, columns: Columns) -> Iterator[pa.RecordBatch]:
        match kind:
            case "jsonl":
                return read_jsonl(path, self.shown, columns, need_label=False)
            case "parquet":
                return read_parquet(path, self.shown, columns, need_label=False)
            case _:
                form = CsvForm("\t" if kind == "tsv" else ",", self.quoting)
                return read_csv(path, self.shown, columns, form, need_label=False, swallowing=self.swallowing)

    def _kind(self) -> Format:
        if self.format is not None:
            return self.format
        if self.source == STDIN:
            return "text"
        path = Path(self.source)
        kind = kind_of(path)
        return "text" if kind is None or kind == "hub" else kind

    @contextmanager
    def _retold(self) -> Iterator[None]:
        """Where the readers name a key of the recipe, the command line has an option, or nothing."""
        try:
            yield
        except UserError as error:
            expected, remedy = error.expected, error.remedy
            if not self.is_fixed:
                expected, remedy = expected and _with_options(expected), remedy and _with_options(remedy)
            elif remedy is not None and "data." in remedy:
                remedy = "Columns and quoting are those of the run's recipe: change the file"
                remedy += "" if self.text_pair is not None else ", or give its texts in a .txt file, one a line"
            raise UserError(error.found, expected=expected, remedy=remedy, where=error.where) from error

    def _lines(self) -> Iterator[Row]:
        with _binary(self.source, self.shown) as file:
            for number, line in enumerate(decoded_lines(file, self.shown), 1):
                yield Row(number, line)

    @contextmanager
    def _path(self, kind: Format) -> Iterator[Path]:
        """A path to read from; a pipe goes to a temporary file where the reader needs to look back."""
        if self.source != STDIN and kind == "jsonl":
            yield Path(self.source)
        elif self.source != STDIN:
            with on_disk(Path(self.source), self.shown) as path:
                yield path
        elif kind == "jsonl" and Path("/dev/stdin").exists():
            yield Path("/dev/stdin")
        else:
            with tempfile.NamedTemporaryFile(prefix="glotune-", suffix=f".{kind}") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
                file.flush()
                yield Path(file.name)


def _with_options(text: str) -> str:
    """``--text`` for ``data.columns.text``."""
    return (
        text.replace("data.columns.text_pair", "--text-pair")
        .replace("data.columns.text", "--text")
        .replace("data.quoting=", "--quoting ")
    )


def require_source(source: str) -> None:
    """Refuses a source that is not there, before anything heavy is loaded.

    Raises:
        UserError: there is no such file.
    """
    path = Path(source)
    if path.is_dir():
        raise UserError(
            f"{source} is a folder",
            expected="a file of texts, or - for standard input",
            remedy="Name one of its files; several can be joined on standard input",
        )
    if source != STDIN and not path.is_file() and not is_stream(path):
        raise UserError(
            f"there is no file {source}",
            expected="a file of texts, or - for standard input",
            remedy=meant_beside(path),
        )


@contextmanager
def _binary(source: str, shown: str) -> Iterator[IO[bytes]]:
    if source == STDIN:
        yield sys.stdin.buffer
        return
    with reading(Path(source), shown), open_bytes(Path(source)) as file:
        yield file
