"""The label names and their order: fixed once, here, for the whole run."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from glotune.errors import UserError, did_you_mean


class LabelMap:
    """What the files' label values mean.

    Args:
        named: ``data.labels`` of the recipe: a list is the order of the names; a mapping says which name a file's
            value stands for, its names in order of appearance being the classes (names themselves may stand in
            files too); None: the values of the training rows, in natural order.
        training: the label values of the training rows, for None.

    Raises:
        UserError: fewer than two labels, or one named twice.
    """

    def __init__(self, named: dict[str, str] | list[str] | None, training: Iterable[str]) -> None:
        if isinstance(named, dict):
            self.names = list(dict.fromkeys(named.values()))
            self._ids = {name: index for index, name in enumerate(self.names)}
            self._ids |= {value: self.names.index(name) for value, name in named.items()}
        else:
            self.names = named if named is not None else natural_order(training)
            if len(set(self.names)) < len(self.names):
                twice = next(name for name in self.names if self.names.count(name) > 1)
                raise UserError(f"the label '{twice}' stands there twice", where="data.labels", expected="each once")
            self._ids = {name: index for index, name in enumerate(self.names)}
        self._origin = "data.labels" if named is not None else "the training rows"
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
            table: with columns label (strings), row and source.
            paths: source -> its name, for messages.

        Raises:
            UserError: a value that is no label, with file and row.
        """
        sources = table["source"].to_numpy()
        ids = np.empty(table.num_rows, np.int16)
        for source in np.unique(sources):
            mine = sources == source
            part = table.select(["label", "row"]).filter(pa.array(mine))
            ids[mine] = self.ids(part["label"], part["row"], paths[int(source)])
        return table.set_column(table.column_names.index("label"), "label", pa.array(ids))

    def ids(self, values: pa.ChunkedArray, rows: pa.ChunkedArray, path: str) -> np.ndarray:
        """Class ids, [N] int16.

        Raises:
            UserError: a value that is no label, with file and row.
        """
        known = pa.array(list(self._ids), pa.string())
        places = pc.index_in(values.cast(pa.string()), known)
        unknown = pc.indices_nonzero(pc.is_null(places))
        if len(unknown):
            self._refuse(values, rows, unknown, path)
        table = np.asarray(list(self._ids.values()), np.int16)
        return table[places.to_numpy()]

    def _refuse(self, values: pa.ChunkedArray, rows: pa.ChunkedArray, unknown: pa.Array, path: str) -> None:
        value, row = values[unknown[0].as_py()].as_py(), rows[unknown[0].as_py()].as_py()
        more = f" (and {len(unknown) - 1} more such rows)" if len(unknown) > 1 else ""
        names = list(self._ids)
        shown = ", ".join(f"'{name[:80]}'" for name in names[:20]) + (", …" if len(names) > 20 else "")
        raise UserError(
            f"unknown label '{value[:80]}'{more}",
            where=f"{path}, row {row}",
            expected=f"one of {shown}, as {self._origin} {'says' if self._origin == 'data.labels' else 'have it'}",
            remedy=did_you_mean(value, names)
            or f"Map it in data.labels, e.g. {{'{value[:80]}': {self.names[0][:80]}}}",
        )


def natural_order(values: Iterable[str]) -> list[str]:
    """Distinct values: by number where all are whole numbers, else by the alphabet."""
    distinct = sorted(set(values))
    try:
        return sorted(distinct, key=int)
    except ValueError:
        return distinct
