"""Paraphrases of training texts that the user brings, keyed by row id: one of them may be read in a text's place.

They are made by translating a text and translating it back (Sennrich et al. 2016, arXiv:1511.06709; Edunov et al. 2018,
arXiv:1808.09381), by a model or by hand, outside glotune. They stay on the side of their row: what says a validation or
test text once more is never trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from glotune.data.spilling import keep
from glotune.data.translations import ids_of, some
from glotune.errors import UserError
from glotune.words import count, named

KEY = "data.augment.back_translations"

Warn = Callable[[str], None]


def paraphrases_of(
    train: pa.Table, held_out: np.ndarray, files: Sequence[tuple[str, pa.Table]], warn: Warn
) -> pa.ListArray:
    """[N] lists of strings: for each training row the texts that say it once more; of most rows none or one.

    Args:
        train: as `LabelledTexts.table`, with a column ``id``.
        held_out: keys of the validation and test texts; a paraphrase that is one of these is not used.
        files: (name, rows as `Selected.table`), each row in the language of the text that it says again.

    Raises:
        UserError: a row without an id, a file none of whose rows says a training row again, or two training rows of one
            language with one id.
    """
    places = _places(train)
    found: list[list[str]] = [[] for _ in range(train.num_rows)]
    for name, table in files:
        ids_of(table, name, KEY, "says once more")
        is_held = np.isin(table["key"].to_numpy(), held_out)
        if seen := int(is_held.sum()):
            warn(f"{count(seen)} rows of {name} not used: they are validation or test texts")
        kept = keep(table, ~is_held)
        left = 0
        for each, language, text in zip(
            *(kept[column].to_pylist() for column in ("id", "language", "text")), strict=True
        ):
            place = places.get((language, each))
            if place is None:
                left += 1
            else:
                found[place].append(text)
        if left == kept.num_rows:
            ids = [each for _, each in places]
            raise UserError(
                f"none of the {count(table.num_rows)} rows of {name} says a training row again: their ids are "
                f"{some(table['id'].to_pylist())}, in {named(str(table['language'][0].as_py()))}",
                where=KEY,
                expected=f"ids of training rows in the same language, as {some(ids)}",
                remedy="Check data.columns.id: back-translations are keyed by it, and by the language",
            )
        if left:
            warn(f"{count(left)} rows of {name} say no training row again: not used")
    if lacking := sum(not each for each in found):
        warn(f"{count(lacking)} of {count(len(found))} training rows have no back-translation")
    return pa.array(found, pa.list_(pa.string()))


def _places(train: pa.Table) -> dict[tuple[str, str], int]:
    """(Language, id) -> the place of its training row."""
    found: dict[tuple[str, str], int] = {}
    columns = (train[name].to_pylist() for name in ("language", "id"))
    for place, (language, each) in enumerate(zip(*columns, strict=True)):
        if each and found.setdefault((language, each), place) != place:
            raise UserError(
                f"the id '{each}' stands in two training rows in {named(language)}",
                where="data.columns.id",
                expected="an id of its own for each training row: back-translations are keyed by it",
            )
    if not found:
        raise UserError(
            "no training row has an id",
            where=KEY,
            expected="a column in data.train that says which row each back-translation is of (data.columns.id)",
        )
    return found
