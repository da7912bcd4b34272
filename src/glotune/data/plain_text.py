"""Plain texts and translation pairs for pretraining: read, checked, and a part held out to judge by."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from glotune.data.held_out import hold_out
from glotune.data.opening import not_utf8, open_bytes, reading, sha256_of
from glotune.data.selection import select
from glotune.data.source_table import load_source
from glotune.data.sources import Source, find_sources
from glotune.data.texts import SkippedRow
from glotune.errors import UserError
from glotune.recipe.pretrain import PretrainData
from glotune.recipe.schema import Columns, Data, Sources
from glotune.records import DataSource

OnWarning = Callable[[str], None]
_NO_LABELS = "\x00no label"
"""No header holds this name: whatever labels a file has stay unread."""


@dataclass(frozen=True)
class PlainTexts:
    """The texts of a pretraining run. Tables have columns ``text``, ``language`` and, for pairs, ``text_pair``."""

    pairs: pa.Table
    texts: pa.Table
    held_pairs: pa.Table
    """The candidates of retrieval, the same number per language; no side of theirs stands in training."""
    held_texts: pa.Table
    pair_language: str
    sources: list[DataSource]
    warnings: list[str] = field(default_factory=list)

    @property
    def languages(self) -> list[str]:
        """Every language of the training texts, sorted."""
        named = {*_distinct(self.pairs["language"]), *_distinct(self.texts["language"])}
        return sorted(named | ({self.pair_language} if len(self.pairs) else set()))

    @property
    def data_hash(self) -> str:
        """SHA-256 over all texts, translations and languages, in order."""
        digest = hashlib.sha256(self.pair_language.encode())
        for table in (self.pairs, self.texts, self.held_pairs, self.held_texts):
            for name in table.column_names:
                digest.update(f"\x1e{name}\x1f{len(table)}".encode())
                for value in table[name].to_pylist():
                    digest.update(value.encode() + b"\x1f")
        return digest.hexdigest()


def read_plain_texts(
    data: PretrainData, *, from_scratch: bool, seed: int, on_warning: OnWarning | None = None
) -> PlainTexts:
    """Reads what a pretraining recipe names; the same data and seed give the same rows in the same order.

    Args:
        from_scratch: whether a new encoder is made: then one language is refused.

    Raises:
        UserError: a file that can't be read or has no text, a side of the pairs that is missing, texts of one
            language only, or too few pairs to hold any out.
    """
    reader = _Reader(data)
    pairs = reader.read(data.pairs, "data.pairs", with_pairs=True)
    texts = reader.read(data.text, "data.text", with_pairs=False)
    _refuse_same_sides(pairs, data)
    split = hold_out(pairs, texts, data.held_out, seed)
    reader.warnings += split.warnings
    for warning in reader.warnings:
        if on_warning:
            on_warning(warning)
    found = PlainTexts(
        split.pairs, split.texts, split.held_pairs, split.held_texts, data.pair_language, reader.sources, reader.warnings
    )
    if from_scratch and len(found.languages) < 2:
        raise UserError(
            f"all texts are in one language, '{found.languages[0]}'",
            where="data.text",
            expected="texts of two languages or more for a multilingual encoder from scratch",
            remedy="Add texts of other languages, or adapt an existing encoder to this one: model.name=glotune-nano",
        )
    return found


def _distinct(column: pa.ChunkedArray) -> list[str]:
    return sorted(set(column.unique().to_pylist()))


def _refuse_same_sides(pairs: pa.Table, data: PretrainData) -> None:
    if not len(pairs):
        return
    if set(_distinct(pairs["language"])) == {data.pair_language}:
        raise UserError(
            f"both sides of the pairs are in '{data.pair_language}'",
            where="data.pairs",
            expected=f"texts of other languages in the column '{data.columns.text}'",
            remedy="Set data.pair_language to the language of the translations, or give the texts as data.text",
        )
    same = np.asarray(pairs["text"].to_numpy() == pairs["text_pair"].to_numpy())
    if same.mean() > 0.5:
        raise UserError(
            f"{same.sum()} of {len(same)} pairs have the same text on both sides",
            where="data.pairs",
            expected=f"a text in '{data.columns.text}' and its translation in '{data.columns.text_pair}'",
        )


class _Reader:
    """Reads sources one by one and gathers their fingerprints and warnings."""

    def __init__(self, data: PretrainData) -> None:
        self.data = data
        self.sources: list[DataSource] = []
        self.warnings: list[str] = []

    def read(self, named: Sources | None, key: str, *, with_pairs: bool) -> pa.Table:
        """The usable rows of everything named, in order; empty where nothing is."""
        columns = ["text", "text_pair", "language"] if with_pairs else ["text", "language"]
        parts = [pa.table({name: pa.array([], pa.string()) for name in columns})]
        if named is not None:
            lines, rest = _split_named(named)
            parts += [self._lines(name, key, language) for name, language in lines]
            sources = find_sources(rest, key) if rest else []
            parts += [self._rows(source, columns, with_pairs) for source in sources]
        if with_pairs and named is not None and _split_named(named)[0]:
            raise UserError(
                "a .txt file has no second column", where=key, expected="pairs in a .csv, .tsv, .jsonl or .parquet file"
            )
        return pa.concat_tables(parts)

    def _rows(self, source: Source, columns: list[str], with_pairs: bool) -> pa.Table:
        names = self.data.columns
        section = Data(
            train=source.name,
            columns=Columns(
                text=names.text,
                text_pair=names.text_pair if with_pairs else None,
                label=_NO_LABELS,
                language=names.language,
                split=names.split,
            ),
        )
        loaded = load_source(source, section, need_label=False)
        self.sources.append(loaded.record)
        self.warnings += _about(loaded.skipped, source.name)
        chosen = select(source, loaded, 0, section)
        table = chosen.as_split(section.split_names.train)
        if not len(table):
            raise UserError(
                f"no row of {source.name} belongs to the training split; its splits are {chosen.says()}",
                where=source.key,
                expected="rows to train on",
                remedy="Set data.columns.split to a column that the file lacks, to read all rows",
            )
        return pa.table({name: table[name].cast(pa.string()) for name in columns})

    def _lines(self, name: str, key: str, language: str | None) -> pa.Table:
        from pathlib import Path

        from glotune.data.languages import is_language

        path = Path(name).expanduser()
        stem = path.name.split(".")[0]
        code = language or (stem if is_language(stem) else None)
        if code is None:
            raise UserError(
                f"the language of {name} is not known",
                where=key,
                expected="a file named by its language (bn.txt), or a key",
                remedy=f"Write {key}: {{en: {name}}}",
            )
        with reading(path, name):
            texts = [line for line in _text_lines(path, name) if line]
        if not texts:
            raise UserError(f"{name} is empty", where=key, expected="one text per line")
        self.sources.append(DataSource(path=name, sha256=sha256_of(path, name), rows=len(texts)))
        return pa.table({"text": texts, "language": [code] * len(texts)})


def _text_lines(path: object, name: str) -> Iterator[str]:
    from pathlib import Path

    assert isinstance(path, Path)
    offset = 0
    with open_bytes(path) as file:
        for row, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                raise not_utf8(name, row, offset + error.start, line[error.start]) from error
            offset += len(line)


def _split_named(named: Sources) -> tuple[list[tuple[str, str | None]], Sources]:
    """Line files with their language, and what is left for `find_sources`."""
    lines: list[tuple[str, str | None]] = []
    if isinstance(named, dict):
        rest = {}
        for language, inner in named.items():
            names = [inner] if isinstance(inner, str) else inner
            lines += [(name, language) for name in names if _is_lines(name)]
            kept = [name for name in names if not _is_lines(name)]
            rest |= {language: kept} if kept else {}
        return lines, rest
    names = [named] if isinstance(named, str) else named
    return [(name, None) for name in names if _is_lines(name)], [name for name in names if not _is_lines(name)]


def _is_lines(name: str) -> bool:
    return name.lower().endswith((".txt", ".txt.gz"))


def _about(skipped: list[SkippedRow], name: str) -> list[str]:
    messages = []
    for reason in sorted({row.reason for row in skipped}):
        rows = [row.row for row in skipped if row.reason == reason]
        listed = ", ".join(map(str, rows[:10])) + (", …" if len(rows) > 10 else "")
        messages.append(f"{len(rows)} rows of {name} skipped: {reason} (rows {listed})")
    return messages


def text_key(text: str) -> int:
    """A 64-bit hash, equal for texts that differ only in case, compatibility form (NFKC) or outer blanks."""
    folded = unicodedata.normalize("NFKC", text).casefold().strip()
    return int.from_bytes(hashlib.blake2b(folded.encode(), digest_size=8).digest(), "little")
