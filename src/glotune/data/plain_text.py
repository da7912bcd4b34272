"""Plain texts and translation pairs for pretraining: read, checked, and a part held out to judge by.

Besides tables there are plain text files: one text per line (``.txt``, ``.txt.gz``, pipes without an ending), empty
lines skipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from glotune.data.csv_files import about_swallowed
from glotune.data.held_out import hold_out
from glotune.data.opening import decoded_lines, open_bytes, reading, sha256_of
from glotune.data.selection import select
from glotune.data.source_table import load_source
from glotune.data.sources import Source, find_sources, kind_of
from glotune.data.spelling import is_blank
from glotune.data.streams import on_disk
from glotune.data.texts import SkippedRow
from glotune.errors import UserError
from glotune.recipe.data_keys import Sources
from glotune.recipe.pretrain import PretrainData
from glotune.recipe.schema import Columns, Data, SplitNames
from glotune.run.record import DataSource

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

    def by_language(self) -> dict[str, list[str]]:
        """Language -> its training texts, translations among them."""
        found: dict[str, list[str]] = {language: [] for language in self.languages}
        for table in (self.pairs, self.texts):
            for text, language in zip(table["text"].to_pylist(), table["language"].to_pylist(), strict=True):
                found[language].append(text)
        if len(self.pairs):
            found[self.pair_language] += self.pairs["text_pair"].to_pylist()
        return found

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
        split.pairs,
        split.texts,
        split.held_pairs,
        split.held_texts,
        data.pair_language,
        reader.sources,
        reader.warnings,
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
        lines, tables = apart(self._sources(named, key)) if named else ([], [])
        if with_pairs:
            if plain := next((source for source in lines if source.kind == "lines"), None):
                raise UserError(
                    f"{plain.name} has no second column",
                    where=key,
                    expected="a text and its translation in a .csv, .tsv, .jsonl or .parquet file",
                )
            lines, tables = [], [*lines, *tables]  # a pipe without an ending: its content says the format
        for source in lines:
            table, record = read_lines(source)
            parts.append(table)
            self.sources.append(record)
        parts += [self._rows(source, columns, with_pairs) for source in tables]
        return pa.concat_tables(parts)

    def _sources(self, named: Sources, key: str) -> list[Source]:
        """Of folders whose files say their splits only the training files."""
        names = SplitNames()
        found = find_sources(named, key, names, self.warnings.append, lines=True)
        chosen = [source for source in found if source.split is None or source.split in names.train]
        if not chosen:
            raise UserError(
                f"no file of {', '.join(sorted({str(source.path.parent) for source in found}))} is for training",
                where=key,
                expected="files to train on",
                remedy="Name them one by one to read them whatever their names say",
            )
        return chosen

    def _rows(self, source: Source, columns: list[str], with_pairs: bool) -> pa.Table:
        names = self.data.columns
        section = Data(
            train=source.name,
            quoting=self.data.quoting,
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
        self.warnings += about_skipped(loaded.skipped, source.name) + about_swallowed(loaded.swallowing)
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


def about_skipped(skipped: list[SkippedRow], name: str) -> list[str]:
    """A warning for each reason why rows of a file were left out."""
    messages = []
    for reason in sorted({row.reason for row in skipped}):
        rows = [row.row for row in skipped if row.reason == reason]
        listed = ", ".join(map(str, rows[:10])) + (", …" if len(rows) > 10 else "")
        messages.append(f"{len(rows)} rows of {name} skipped: {reason} (rows {listed})")
    return messages


def apart(sources: list[Source]) -> tuple[list[Source], list[Source]]:
    """Those that hold a text a line, and the others. A pipe whose name says no format is taken for lines."""
    plain = ("lines", "stream")
    return [each for each in sources if each.kind in plain], [each for each in sources if each.kind not in plain]


def read_lines(source: Source) -> tuple[pa.Table, DataSource]:
    """The texts of a line file, with columns text and language.

    Raises:
        UserError: not UTF-8, empty, or of a language that neither the key nor a name says.
    """
    name, key, code = source.name, source.key, source.language or source.named_language
    if code is None:
        raise UserError(
            f"the language of {name} is not known",
            where=key,
            expected="a file named by its language (bn.txt), or a key",
            remedy=f"Write {key}: {{en: {name}}}",
        )
    with on_disk(source.path, name) as path, reading(path, name):
        _refuse_table(path, name, key)
        with open_bytes(path) as file:
            texts = [line.strip() for line in decoded_lines(file, name) if not is_blank(line)]
        fingerprint = sha256_of(path, name)
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
