"""Translate-train: training texts once more in other languages, with the label of the text that they translate.

The user brings the translations, keyed by the row that each one translates (``data.columns.id``). They join the
training rows after the splits are chosen: what translates a validation or test text is never trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from glotune.data.coded_columns import is_in
from glotune.data.spilling import keep
from glotune.errors import UserError

SHOWN = 5
"""Ids that a message names."""


@dataclass(frozen=True)
class Translated:
    """The training rows with their translations below, and what was odd about these."""

    train: pa.Table
    warnings: list[str] = field(default_factory=list)


def with_translations(
    train: pa.Table, source_languages: list[str], translations: dict[str, list[tuple[str, pa.Table]]]
) -> Translated:
    """Joins the translations to the training rows.

    Args:
        train: as `LabelledTexts.table`, with a column ``id``.
        source_languages: whose rows are translated.
        translations: language -> (the file's name, its rows as `Selected.table`).

    Raises:
        UserError: a language that is trained on already, rows without an id or with one that stands twice, or files
            none of whose rows translates a training row.
    """
    rows = keep(train, is_in(train["language"], source_languages))
    place_of = _places(rows)
    parts, warnings = [train], []
    for language, files in translations.items():
        key = f"data.translations.{language}"
        if language in source_languages:
            raise UserError(
                f"'{language}' is a source language: its own texts are trained on",
                where=key,
                expected="a language that data.train has no rows of, or that data.source_languages leaves out",
            )
        seen: dict[str, str] = {}
        for name, table in files:
            ids = ids_of(table, name, key, "translates")
            for number, each in zip(table["row"].to_pylist(), ids, strict=True):
                if each in seen:
                    raise UserError(
                        f"the id '{each}' stands twice among the translations into '{language}'",
                        where=f"{name}, row {number}",
                        expected=f"one translation of each row; the first is {seen[each]}",
                    )
                seen[each] = f"{name}, row {number}"
            known = np.array([each in place_of for each in ids])
            if not known.any():
                raise UserError(
                    f"none of the {len(ids):,} ids of {name} is that of a training row: {some(ids)}",
                    where=key,
                    expected=f"ids of the training rows, as {some(list(place_of))}",
                    remedy="Check data.columns.id: translations are keyed by it",
                )
            if left := int((~known).sum()):
                warnings.append(f"{left:,} rows of {name} translate no training row: not used")
            parts.append(_joined(rows, keep(table, known), [place_of[each] for each in ids if each in place_of]))
        if lacking := len(place_of) - sum(each in place_of for each in seen):
            warnings.append(f"{lacking:,} of {len(place_of):,} training rows have no translation into '{language}'")
    return Translated(pa.concat_tables(parts).unify_dictionaries(), warnings)


def _places(rows: pa.Table) -> dict[str, int]:
    """Id -> the place of its row among the source rows; of a text in several source languages the first."""
    found: dict[str, int] = {}
    languages, labels = rows["language"].to_pylist(), rows["label"].to_pylist()
    for place, each in enumerate(rows["id"].to_pylist()):
        if not each:
            continue
        first = found.setdefault(each, place)
        if first != place and (languages[first] == languages[place] or labels[first] != labels[place]):
            raise UserError(
                f"the id '{each}' stands in two training rows"
                + (" with different labels" if labels[first] != labels[place] else f" in '{languages[place]}'"),
                where="data.columns.id",
                expected="an id of its own for each training row: translations are keyed by it",
            )
    if not found:
        raise UserError(
            "no training row has an id",
            where="data.translations",
            expected="a column in data.train that says which row each translation is of (data.columns.id)",
        )
    return found


def versions(train: pa.Table, languages: Sequence[str]) -> dict[str, dict[str, int]]:
    """Id -> language -> the place of its training row, for rows with an id in these languages."""
    found: dict[str, dict[str, int]] = {}
    wanted = set(languages)
    for place, (each, language) in enumerate(zip(train["id"].to_pylist(), train["language"].to_pylist(), strict=True)):
        if each and language in wanted:
            found.setdefault(each, {}).setdefault(language, place)
    return found


@dataclass(frozen=True)
class Translations:
    """Which training rows translate each other."""

    of: dict[int, tuple[int, ...]]
    """Row -> the rows that say the same in other languages; those that have any."""

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over all of them; asked for in each epoch."""
        return hashlib.sha256(repr(sorted(self.of.items())).encode()).digest()

    def drawn(self, row: int, draw: np.random.Generator) -> int:
        """One of the row's translations, each as likely; the row itself where it has none."""
        others = self.of.get(row)
        return row if others is None else others[int(draw.integers(len(others)))]


def translations_in(train: pa.Table, languages: Sequence[str]) -> Translations:
    """The rows of one id among those in these languages."""
    groups = [tuple(places.values()) for places in versions(train, languages).values() if len(places) > 1]
    return Translations({row: tuple(each for each in group if each != row) for group in groups for row in group})


def ids_of(table: pa.Table, name: str, key: str, does: str) -> list[str]:
    """The id of each row; raises UserError where one has none. `does`: what a row does to the one with its id."""
    ids = table["id"].to_pylist()
    if not all(ids):
        place = next(at for at, each in enumerate(ids) if not each)
        everywhere = not any(ids)
        raise UserError(
            f"{name} has no ids" if everywhere else "no id",
            where=key if everywhere else f"{name}, row {table['row'][place].as_py()}",
            expected=f"in each row the id of the training row that it {does}, in the column of data.columns.id",
        )
    return [str(each) for each in ids]


def some(ids: list[str]) -> str:
    """The first of them."""
    return ", ".join(ids[:SHOWN]) + (", …" if len(ids) > SHOWN else "")


def _joined(rows: pa.Table, translated: pa.Table, places: list[int]) -> pa.Table:
    """Text, language, row and file of the translation; label and weight of the row that it translates."""
    taken = rows.take(pa.array(places, pa.int64()))
    own = ("text", "text_pair", "language", "row", "source", "key", "id")
    columns = {name: (translated if name in own else taken)[name] for name in rows.column_names}
    return pa.table({name: pc.cast(column, rows.schema.field(name).type) if name != "language" else column
                     for name, column in columns.items()})  # fmt: skip
