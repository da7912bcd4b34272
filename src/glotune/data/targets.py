"""Targets that are more than one class: several labels, each yes, no or not annotated, and scores.

A row's targets come as one string (`glotune.data.rows`): the cells of several columns, or the labels that apply. Each
distinct string gets a number, which stands in the column ``label`` as a class id does, and a row of
`TargetMap.targets`. So everything that asks whether two rows are labelled alike (duplicates, strata, hashes) asks it of
all tasks alike.

Shape letters: K distinct targets, L labels or scores, N rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from glotune.data.coded_columns import codes, distinct
from glotune.data.label_names import LabelMap, natural_order
from glotune.data.rows import CELL
from glotune.data.spelling import name_of
from glotune.errors import UserError, did_you_mean
from glotune.recipe.kinds import TaskName
from glotune.recipe.schema import Data

Targets = NDArray[np.float32]
"""[K, L]: 1 and 0, or scores; NaN where nothing is annotated."""
YES_OR_NO = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "true": 1.0, "false": 0.0, "": math.nan}
MOST_VOTES = 1_000_000
"""For one class of a text; more are hardly votes."""
QUANTILES = 5
"""Strata of scores: fifths of the rows by the first score that they have."""


class Meaning(Protocol):
    """What the label values of files mean, for any task."""

    names: list[str]

    @property
    def targets(self) -> Targets | None:
        """What the numbers in the column ``label`` stand for; None where they are class ids."""
        ...

    def apply(self, table: pa.Table, paths: dict[int, str]) -> pa.Table:
        """The table with numbers for its labels; raises UserError with file and row."""
        ...


def meaning_of(task: TaskName, data: Data, training: Iterable[str], *, names: list[str] | None = None) -> Meaning:
    """What label values mean in this task.

    Args:
        training: the label values of the training rows.
        names: the labels of a model that is trained, in its order.

    Raises:
        UserError: the values are those of another task, or too few.
    """
    if data.columns.votes is not None:
        return VoteMap(data.columns.votes, names=names)
    if task == "single_label":
        return LabelMap(data.labels, training, names=names)
    return TargetMap(task, data, training, names=names)


class TargetMap:
    """What label values mean where a text has several labels, or scores.

    Args:
        task: ``multi_label`` or ``score``.
        data: the recipe's section: columns, label names, levels.
        training: the label values of the training rows; names the labels of one column of them.
        names: the labels of a model that is trained, in its order. Columns of labels are found among them by name, and
            what has no column is annotated nowhere; columns that all have other names stand in the model's order.

    Raises:
        UserError: columns of labels that are not the model's.
    """

    def __init__(self, task: TaskName, data: Data, training: Iterable[str], *, names: list[str] | None = None) -> None:
        self.task, self.data = task, data
        self._ids: dict[str, int] = {}
        self._rows: list[list[float]] = []
        if names is not None:
            self.names = list(names)
        elif data.columns.labels is not None:
            self.names = list(data.columns.labels)
        elif task == "score":
            self.names = [data.columns.label]
        else:
            self.names = _named(data, training)
        self._places = {name_of(name): place for place, name in enumerate(self.names)}
        self._columns = data.columns.labels or ([data.columns.label] if task == "score" else [])
        self._place_of_column = self._found(self._columns)
        if isinstance(data.labels, dict):
            self._places |= {name_of(value): self._places[name_of(name)] for value, name in data.labels.items()}

    @property
    def targets(self) -> Targets:
        """[K, L], of all values that were met so far."""
        return np.asarray(self._rows, np.float32).reshape(len(self._rows), len(self.names))

    def apply(self, table: pa.Table, paths: dict[int, str]) -> pa.Table:
        """`table` with the number of its target (int32) for each label value.

        Args:
            table: with columns label (coded strings), row and source.
            paths: source -> its name, for messages.

        Raises:
            UserError: a value that is no target, with file and row.
        """
        values = distinct(table["label"])
        for value in values:
            if value not in self._ids:
                try:
                    row = self._read(value)
                except UserError as error:
                    raise placed(error, value, table, paths) from None
                self._ids[value] = len(self._rows)
                self._rows.append(row)
        meaning = np.asarray([self._ids[value] for value in values], np.int32)
        numbers = meaning[codes(table["label"], values)]
        return table.set_column(table.column_names.index("label"), "label", pa.array(numbers, pa.int32()))

    def _found(self, columns: Sequence[str]) -> list[int]:
        """The place of each column among the names."""
        if list(columns) == self.names:
            return list(range(len(columns)))
        known = [self._places.get(name_of(column)) for column in columns]
        places = [place for place in known if place is not None]
        if len(places) == len(columns):
            return places
        if len(columns) == len(self.names) and all(place in (None, at) for at, place in enumerate(known)):
            return list(range(len(columns)))
        raise UserError(
            f"the column{'s' * (len(columns) > 1)} {', '.join(columns)}",
            where="data.columns.label" if self.data.columns.labels is None else "data.columns.labels",
            expected=f"labels that the model knows, any of {', '.join(self.names)}; or a column of another name for "
            "each of these, in this order",
        )

    def _read(self, value: str) -> list[float]:
        if self._columns:
            row = [math.nan] * len(self.names)
            cells = value.split(CELL) if self.data.columns.labels is not None else [value]
            for cell, column, place in zip(cells, self._columns, self._place_of_column, strict=True):
                row[place] = (
                    self._score(cell.strip()) if self.task == "score" else self._yes_or_no(cell.strip(), column)
                )
            return row
        found = [0.0] * len(self.names)
        for part in parts_of(value, self.data.columns.delimiter):
            if part not in self._places:
                raise UserError(
                    f"unknown label '{part[:80]}'",
                    expected=f"one of {', '.join(map(repr, self.names[:20]))}, as "
                    f"{'data.labels says' if self.data.labels else 'the training rows have it'}",
                    remedy=did_you_mean(part, self.names),
                )
            found[self._places[part]] = 1.0
        return found

    def _yes_or_no(self, cell: str, name: str) -> float:
        if cell.casefold() not in YES_OR_NO:
            remedy = "Scores are of task: score" if _is_number(cell) else None
            raise UserError(
                f"the value '{cell[:80]}' in the column '{name}'",
                expected="1 where the label applies, 0 where it doesn't, nothing where it is not annotated",
                remedy=remedy,
            )
        return YES_OR_NO[cell.casefold()]

    def _score(self, cell: str) -> float:
        if not cell:
            return math.nan
        value = float(cell) if _is_number(cell) else math.nan
        if not math.isfinite(value):
            raise UserError(f"the score '{cell[:80]}'", expected="a finite number, or nothing where there is no score")
        levels = self.data.levels
        if levels is not None and value not in levels:
            raise UserError(
                f"the score {value:g}",
                expected=f"one of data.levels: {', '.join(f'{level:g}' for level in levels)}",
                remedy="Add the level, or leave data.levels out",
            )
        return value


class VoteMap:
    """What label values mean where annotators' votes for each class stand in columns.

    The column ``label`` gets the class with most votes (of several, the one that the recipe names first), the column
    ``votes`` the votes for each class, float32 [C].

    Args:
        named: ``data.columns.votes``: {class: its columns}.
        names: the classes of a model that is trained, in its order.

    Raises:
        UserError: these are not the classes of `named`.
    """

    def __init__(self, named: Mapping[str, Sequence[str]], *, names: list[str] | None = None) -> None:
        self.names = list(named) if names is None else list(names)
        if sorted(self.names) != sorted(named):
            raise UserError(
                f"data.columns.votes names the classes {', '.join(named)}",
                expected=f"those of the model: {', '.join(self.names)}",
            )
        self._columns = [column for columns in named.values() for column in columns]
        self._class_of_column = [self.names.index(name) for name, columns in named.items() for _ in columns]

    @property
    def targets(self) -> None:
        """Class ids stand for themselves."""

    def apply(self, table: pa.Table, paths: dict[int, str]) -> pa.Table:
        """`table` with class ids (int16), and the votes in a column of their own.

        Args:
            table: with columns label (coded strings), row and source.
            paths: source -> its name, for messages.

        Raises:
            UserError: votes that are no numbers, negative, or 0 in all, with file and row.
        """
        values, size = distinct(table["label"]), len(self.names)
        votes_KC = np.zeros((len(values), size), np.float32)
        for place, value in enumerate(values):
            try:
                votes_KC[place] = self._votes(value)
            except UserError as error:
                raise placed(error, value, table, paths) from None
        numbers = codes(table["label"], values)
        labels = votes_KC.argmax(axis=1).astype(np.int16)[numbers]
        votes = pa.FixedSizeListArray.from_arrays(pa.array(votes_KC[numbers].reshape(-1), pa.float32()), size)
        table = table.set_column(table.column_names.index("label"), "label", pa.array(labels))
        return table.append_column("votes", votes)

    def _votes(self, value: str) -> NDArray[np.float64]:
        votes_C = np.zeros(len(self.names))
        cells = value.split(CELL)
        for cell, column, index in zip(cells, self._columns, self._class_of_column, strict=True):
            votes_C[index] += _votes(cell.strip(), column)
        total = votes_C.astype(np.float32).sum()  # as they are kept
        if total == 0:
            raise UserError(
                "votes that sum to 0",
                expected=f"at least one vote in {', '.join(map(repr, self._columns[:20]))}",
                remedy="Leave a text out that nobody voted on, or leave all of its votes blank: it is skipped then",
            )
        return votes_C


def _votes(cell: str, column: str) -> float:
    """Of one column: a number of votes, or a share of them."""
    value = float(cell) if _is_number(cell) else math.nan
    if 0 <= value <= MOST_VOTES:
        return value
    raise UserError(
        f"the votes '{cell[:80]}' in the column '{column}'" if cell else f"no votes in the column '{column}'",
        expected=f"a number from 0 to {MOST_VOTES:,}: how many voted so, or their share",
        remedy=None if cell else "Write 0 where nobody voted so",
    )


def parts_of(value: str, delimiter: str | None) -> list[str]:
    """The labels in one value, each in its one spelling: ``joy| anger`` are two, ``|`` alone is none."""
    mark = delimiter or CELL
    # Readers strip a cell, and with it the blanks of a delimiter at its ends: ``,`` for ``, `` would be a label.
    before, after = mark[: len(mark) - len(mark.lstrip())], mark[len(mark.rstrip()) :]
    return [name for part in f"{before}{value}{after}".split(mark) if (name := name_of(part))]


def _named(data: Data, training: Iterable[str]) -> list[str]:
    """The labels of one column: those that the recipe names, else all of the training rows."""
    if isinstance(data.labels, dict):
        return list(dict.fromkeys(map(name_of, data.labels.values())))
    if data.labels is not None:
        return list(data.labels)
    found = natural_order({part for value in training for part in parts_of(value, data.columns.delimiter)})
    if not found:
        raise UserError(
            "no label in the training rows",
            where="data.train",
            expected="rows with labels",
            remedy="Check data.columns.label and data.columns.delimiter",
        )
    return found


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def placed(error: UserError, value: str, table: pa.Table, paths: dict[int, str]) -> UserError:
    """The same error with file and row of the first such label value."""
    for batch in table.select(["label", "row", "source"]).to_batches():
        places = pc.indices_nonzero(pc.equal(batch.column("label").cast(pa.string()), value))
        if len(places):
            place = places[0].as_py()
            source, row = batch.column("source")[place].as_py(), batch.column("row")[place].as_py()
            return UserError(
                error.found, where=f"{paths[source]}, row {row}", expected=error.expected, remedy=error.remedy
            )
    return error


def strata_of(targets: Targets | None, ids_N: NDArray[np.integer]) -> NDArray[np.int32]:
    """[N] a number for each row by what it is labelled with: rows that are alike enough to stand for one another.

    Of several labels it is the rarest that applies (those without any are alike), as whole sets of labels are often
    alone; of scores the fifth that the first score lies in.
    """
    ids = np.asarray(ids_N, np.int32)
    if targets is None:
        return ids
    rows_NL = targets[ids]
    known = targets[~np.isnan(targets)]
    if np.isin(known, (0.0, 1.0)).all():
        positive_NL = rows_NL == 1.0
        order = np.argsort(positive_NL.sum(axis=0), kind="stable")
        return np.where(positive_NL.any(axis=1), positive_NL[:, order].argmax(axis=1), len(order)).astype(np.int32)
    is_given_NL = ~np.isnan(rows_NL)
    first_N = np.take_along_axis(rows_NL, is_given_NL.argmax(axis=1)[:, None], axis=1)[:, 0]
    edges = np.nanquantile(first_N, np.linspace(0, 1, QUANTILES + 1)[1:-1])
    return np.searchsorted(edges, first_N, side="left").astype(np.int32)


def refuse_unlearnable(task: TaskName, names: list[str], targets: Targets, ids_N: NDArray[np.integer]) -> None:
    """Refuses training rows that hold nothing to learn about one of the targets.

    Raises:
        UserError: a label that is not annotated or never applies; a score with a single value.
    """
    rows_NL = targets[ids_N]
    for name, column_N in zip(names, rows_NL.T, strict=True):
        given = column_N[~np.isnan(column_N)]
        if not len(given):
            raise UserError(
                f"no training row has anything in '{name}'",
                where="data.train",
                expected="at least one annotated training row for each",
                remedy=f"Leave '{name}' out of data.columns.labels",
            )
        if task == "multi_label" and not (given == 1.0).any():
            raise UserError(
                f"no training row has the label '{name}' ({len(given):,} say that it does not apply)",
                where="data.train",
                expected="at least one training row per label",
                remedy="Leave it out, or raise data.fraction or data.train_rows if they are set",
            )
        if task == "score" and given.min() == given.max():
            raise UserError(
                f"all {len(given):,} training rows have the score {given[0]:g} in '{name}'",
                where="data.train",
                expected="scores that differ",
                remedy="Check data.columns: there is nothing to learn",
            )


def words_of(targets: Targets, names: list[str], number: int) -> str:
    """A target for people: ``anger, joy``, ``(none)``, or ``2.5``; what is not annotated is left out."""
    row = targets[number]
    if np.isin(row[~np.isnan(row)], (0.0, 1.0)).all() and len(names) > 1:
        return ", ".join(name for name, value in zip(names, row, strict=True) if value == 1.0) or "(none)"
    shown = [f"{name} {value:g}" for name, value in zip(names, row, strict=True) if not math.isnan(value)]
    return ", ".join(shown) if len(names) > 1 else f"{row[0]:g}"
