"""Plain text files: one text per line (``.txt``, ``.txt.gz``, pipes without an ending), empty lines skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from glotune.data.file_names import language_of
from glotune.data.opening import is_stream, not_utf8, open_bytes, reading, sha256_of
from glotune.data.sources import kind_of
from glotune.data.spelling import is_blank
from glotune.data.streams import on_disk
from glotune.errors import UserError, did_you_mean
from glotune.recipe.paths import place_of
from glotune.recipe.schema import Sources
from glotune.run.records import DataSource


def is_line_file(name: str) -> bool:
    """Whether the name is that of a plain text file."""
    return name.lower().endswith((".txt", ".txt.gz"))


def holds_lines(name: str) -> bool:
    """Whether plain lines are expected there: a text file, or a pipe whose name says no format."""
    path = place_of(name)
    return is_line_file(name) or (is_stream(path) and kind_of(path) is None)


def split_named(
    named: Sources | None, is_lines: Callable[[str], bool] = holds_lines
) -> tuple[list[tuple[str, str | None]], Sources]:
    """The names of lines among what a recipe names, each with the language of its key, and what is left."""
    if named is None:
        return [], []
    if isinstance(named, dict):
        lines: list[tuple[str, str | None]] = []
        rest: dict[str, str | list[str]] = {}
        for language, inner in named.items():
            each = [inner] if isinstance(inner, str) else inner
            lines += [(name, language) for name in each if is_lines(name)]
            if others := [name for name in each if not is_lines(name)]:
                rest[language] = others
        return lines, rest
    names = [named] if isinstance(named, str) else named
    return [(name, None) for name in names if is_lines(name)], [name for name in names if not is_lines(name)]


def read_lines(name: str, key: str, language: str | None) -> tuple[pa.Table, DataSource]:
    """The texts of a line file, with columns text and language.

    Args:
        name: the file as the recipe names it.
        key: the recipe key that names it, for messages.
        language: of the key; None: the file's name is the language's code.

    Raises:
        UserError: no such file, not UTF-8, empty, or of an unknown language.
    """
    path = place_of(name)
    if not path.is_file() and not is_stream(path):
        siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(
            f"there is no file {name}", where=key, expected="an existing file", remedy=did_you_mean(path.name, siblings)
        )
    code = language or language_of(path.name)
    if code is None:
        raise UserError(
            f"the language of {name} is not known",
            where=key,
            expected="a file named by its language (bn.txt), or a key",
            remedy=f"Write {key}: {{en: {name}}}",
        )
    with on_disk(path, name) as file, reading(file, name):
        _refuse_table(file, name, key)
        texts = [line for line in _decoded(file, name) if not is_blank(line)]
        fingerprint = sha256_of(file, name)
    if not texts:
        raise UserError(f"{name} holds no text", where=key, expected="one text per line")
    table = pa.table({"text": pa.array(texts, pa.string()), "language": pa.array([code] * len(texts), pa.string())})
    return table, DataSource(path=name, sha256=fingerprint, rows=len(texts))


def _refuse_table(file: Path, name: str, key: str) -> None:
    """A pipe's content that is no plain text would otherwise be learned, braces and all."""
    if kind_of(file) in ("jsonl", "parquet"):
        raise UserError(
            f"{name} holds {'Parquet' if kind_of(file) == 'parquet' else 'JSON lines'}",
            where=key,
            expected="one text per line in a pipe without an ending",
            remedy=f"Write it to a file or a named pipe (mkfifo) that ends in .{kind_of(file)}",
        )


def _decoded(path: Path, name: str) -> Iterator[str]:
    offset = 0
    with open_bytes(path) as file:
        for row, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                raise not_utf8(name, row, offset + error.start, line[error.start]) from error
            offset += len(line)
