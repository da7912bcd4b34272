"""The label names and their order: fixed once, here, for the whole run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from glotune.data.coded_columns import codes, is_in
from glotune.data.spelling import name_of
from glotune.errors import UserError, did_you_mean

MOST = int(np.iinfo(np.int16).max)
"""Class ids are stored in 16 bits."""


class LabelMap:
    """What the files' label values mean.

    Values and names are compared in the one spelling of a name (`glotune.data.spelling.name_of`); `names` stay as
    they are given.

    Args:
        named: ``data.labels`` of the recipe: a list is the order of the names; a mapping says which name a file's
            value stands for, its names in order of appearance being the classes (names themselves may stand in
            files too); None: the values of the training rows, in natural order.
        training: the label values of the training rows, for None.
        names: the classes of a model that is trained, in its order, for which `named` may hold further values.

    Raises:
        UserError: fewer than two labels, more than `MOST`, or one named twice.
    """

    def __init__(
        self,
        named: dict[str, str] | list[str] | None,
        training: Iterable[str],
        *,
        names: list[str] | None = None,
    ) -> None:
        mapping = named if isinstance(named, dict) else {}
        given = names if names is not None else _classes_of(mapping) if mapping else named
        self._origin = "the training rows" if given is None else "data.labels"
        self.names = natural_order(training) if given is None else list(given)
        self._ids = {name_of(name): index for index, name in enumerate(self.names)}
        if len(self._ids) < len(self.names):
            raise _named_twice(self.names)
        if len(self.names) > MOST:
            raise UserError(
                f"{len(self.names):,} different labels in {self._origin}",
                expected=f"at most {MOST:,} classes",
                remedy="Check data.columns.label: each different value becomes a class",
            )
        self._ids |= {name_of(value): self._ids[name_of(name)] for value, name in mapping.items()}
        if len(self.names) < 2:
            there = f"the one label '{self.names[0]}'" if self.names else "no label"
            raise UserError(
                f"{there} in {self._origin}",
                expected="at least two classes",
                remedy="Check data.columns.label and data.train",
            )

    def apply(self, table: pa.Table, paths: dict[int, str]) -> pa.Table:
        """`table` with class ids (int16) for its labels.

        Args:
            table: with columns label (coded strings), row and source.
            paths: source -> its name, for messages.

        Raises:
            UserError: a value that is no label, with file and row.
        """
        known = pa.array(list(self._ids), pa.string())
        if not pc.all(is_in(table["label"], self._ids)).as_py():
            self._refuse(table, known, paths)
        meaning = np.asarray(list(self._ids.values()), np.int16)
        ids = meaning[codes(table["label"], list(self._ids))]
        return table.set_column(table.column_names.index("label"), "label", pa.array(ids))

    def _refuse(self, table: pa.Table, known: pa.Array, paths: dict[int, str]) -> None:
        """The error for the first source that has unknown values, at the first of its rows."""
        unknown: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for batch in table.select(["label", "row", "source"]).to_batches():
            values = batch.column("label").cast(pa.string())
            for place in pc.indices_nonzero(pc.is_null(pc.index_in(values, known))).to_pylist():
                found = (values[place].as_py(), batch.column("row")[place].as_py())
                unknown[batch.column("source")[place].as_py()].append(found)
        source = min(unknown)
        value, row = unknown[source][0]
        more = f" (and {len(unknown[source]) - 1} more such rows)" if len(unknown[source]) > 1 else ""
        names = list(self._ids)
        shown = ", ".join(f"'{name[:80]}'" for name in names[:20]) + (", …" if len(names) > 20 else "")
        raise UserError(
            f"unknown label '{value[:80]}'{more}",
            where=f"{paths[source]}, row {row}",
            expected=f"one of {shown}, as {self._origin} {'says' if self._origin == 'data.labels' else 'have it'}",
            remedy=did_you_mean(value, names)
            or f"Map it in data.labels, e.g. {{'{value[:80]}': {self.names[0][:80]}}}",
        )


def _classes_of(mapping: dict[str, str]) -> list[str]:
    """The names that a mapping gives, in order of appearance, each once."""
    first: dict[str, str] = {}
    for name in mapping.values():
        first.setdefault(name_of(name), name)
    return list(first.values())


def _named_twice(names: list[str]) -> UserError:
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name_of(name), name)
        if other != name:
            found = f"the labels {other!r} and {name!r} differ in their Unicode form or invisible characters alone"
            return UserError(found, where="data.labels", expected="one spelling of a label")
    twice = next(name for name in names if names.count(name) > 1)
    return UserError(f"the label '{twice}' stands there twice", where="data.labels", expected="each once")


def natural_order(values: Iterable[str]) -> list[str]:
    """Distinct values: by number where all are whole numbers, else by the alphabet."""
    distinct = sorted(set(values))
    try:
        return sorted(distinct, key=int)
    except ValueError:
        return distinct
