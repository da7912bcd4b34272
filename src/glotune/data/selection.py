"""Which rows of a source a recipe means: its language, and its split."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from glotune.data.coded_columns import CODED, constant, encoded, is_in, strings_of, value_counts
from glotune.data.source_table import SourceTable
from glotune.data.sources import Source
from glotune.data.spilling import keep
from glotune.errors import UserError
from glotune.languages import nearest_language
from glotune.recipe.schema import Data, SplitNames

_KEPT = ("text", "text_pair", "label", "weight", "id")


@dataclass(frozen=True)
class Selected:
    """The rows of one source that one recipe key means, with their language; split is None where none is said."""

    source: Source
    name: str
    table: pa.Table
    """text, text_pair (with pairs), label (dictionary), weight, id (where said), language (CODED), row, source, key."""
    splits: pa.ChunkedArray | None
    """Split name of each row as the file or its name says it, [N] dictionary of strings."""
    other_languages: set[str]
    """Languages of the source that this key leaves out."""

    def of_split(self, names: list[str]) -> pa.Table:
        """The rows whose split has one of `names`; none where the source says no split."""
        return keep(self.table, self._is(names))

    def as_split(self, names: list[str]) -> pa.Table:
        """As `of_split`, but all rows where the source says no split."""
        return self.table if self.splits is None else self.of_split(names)

    def _is(self, names: list[str]) -> Any:
        if self.splits is None:
            return np.zeros(self.table.num_rows, bool)
        return is_in(self.splits, names)

    def split_counts(self) -> Counter[str]:
        """Split name -> rows; empty where the source says no split."""
        return Counter() if self.splits is None else value_counts(self.splits)

    def says(self) -> str:
        """The splits that the source names, with their rows, for messages."""
        return ", ".join(f"{name or '(none)'} {count}" for name, count in self.split_counts().most_common(10))


def select(source: Source, loaded: SourceTable, index: int, data: Data) -> Selected:
    """The rows that `source` means, with their language.

    The language is that of the recipe key ({bn: …}), and then only the rows are meant whose language column (where
    there is one) says the same; else that of the language column; else the one that the file's name says
    (`glotune.data.file_names`); else the only one of ``data.source_languages``. The split is that of the split column,
    else the one that the name of a file in a folder says.

    Args:
        source: a source as the recipe names it.
        loaded: its content.
        index: its place in `TextData.sources`.
        data: the recipe's section.

    Raises:
        UserError: the language can't be known, or no row is of the wanted one.
    """
    table, others = loaded.table, set[str]()
    if source.language is None:
        languages = _languages(source, loaded, data)
    else:
        if loaded.has("language"):
            others = set(loaded.distinct("language")) - {source.language, ""}
            table = keep(table, is_in(table["language"], [source.language, ""]))
            if not table.num_rows:
                raise _no_such_language(source, others)
        languages = constant(source.language, map(len, table["row"].chunks))
    splits = table["split"] if loaded.has("split") else _named_split(source, table)
    columns = {name: table[name] for name in _KEPT if name in table.column_names}
    columns["language"] = languages
    columns["row"], columns["key"] = table["row"], table["key"]
    columns["source"] = _repeated(index, table["row"])
    return Selected(source, loaded.name, pa.table(columns), splits, others)


def _named_split(source: Source, table: pa.Table) -> pa.ChunkedArray | None:
    return None if source.split is None else constant(source.split, map(len, table["row"].chunks))


def _repeated(index: int, like: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of one number, in chunks as another's that share their memory."""
    lengths = [len(chunk) for chunk in like.chunks]
    shared = pa.array(np.full(max(lengths, default=0), index, np.int16))
    return pa.chunked_array([shared.slice(0, length) for length in lengths], pa.int16())


def _languages(source: Source, loaded: SourceTable, data: Data) -> pa.ChunkedArray:
    fallback = _fallback(source, data)
    if not loaded.has("language"):
        if fallback is None:
            raise UserError(
                f"the language of {source.name} is not known",
                where=source.key,
                expected=f"a column '{data.columns.language}', a file named by its language (bn.csv), or a key",
                remedy=f"Write {source.key}: {{en: {source.name}}}, or set data.source_languages to its one language",
            )
        return constant(fallback, map(len, loaded.table["row"].chunks))
    given = loaded.table["language"]
    if "" not in loaded.distinct("language"):
        return given
    absent = is_in(given, [""])
    if fallback is None:
        row = loaded.table["row"][pc.indices_nonzero(absent)[0].as_py()].as_py()
        raise UserError(
            f"no language in column '{data.columns.language}'",
            where=f"{source.name}, row {row}",
            expected="a language code in each row",
            remedy=f"Fill it in, or write {source.key}: {{en: {source.name}}}",
        )
    said = strings_of(given)
    filled = (pc.if_else(none, fallback, each) for none, each in zip(absent.chunks, said, strict=True))
    return pa.chunked_array([encoded(each) for each in filled], CODED)


def _fallback(source: Source, data: Data) -> str | None:
    if source.named_language is not None:
        return source.named_language
    names = data.source_languages
    return names[0] if names is not None and len(names) == 1 else None


def assumed_language(source: Source, loaded: SourceTable, data: Data) -> str | None:
    """A notice about rows whose language only ``data.source_languages`` says; None where key, file or rows say it."""
    if source.language is not None or source.named_language is not None:
        return None
    silent = not loaded.has("language") or "" in loaded.distinct("language")
    fallback = _fallback(source, data)
    if not silent or fallback is None:
        return None
    return (
        f"{source.name} says no language and is taken as '{fallback}' (data.source_languages); "
        f"to say another, name it as {source.key}.CODE={source.name}"
    )


def _no_such_language(source: Source, others: set[str]) -> UserError:
    there = ", ".join(sorted(others)[:20])
    guess = nearest_language(source.language or "", others)
    return UserError(
        f"no row of {source.name} is in '{source.language}'; its language column says {there}",
        where=source.key,
        expected="the code that the file uses",
        remedy=f"Did you mean '{guess}'?" if guess else "Use that code as the key, or name another file",
    )


def unnamed_splits(selected: Selected, names: SplitNames) -> str | None:
    """A warning about rows of splits that the recipe does not name; None where there are none."""
    known = {*names.train, *names.validation, *names.test}
    counts = Counter({name: count for name, count in selected.split_counts().items() if name not in known})
    if not counts:
        return None
    there = ", ".join(f"'{name}' {count}" for name, count in counts.most_common(5))
    return f"{counts.total()} rows of {selected.name} not used: no data.split_names has their split ({there})"
