"""The label names and their order: fixed once, here, for the whole run.

Values that would train without an error and yet are hardly meant as classes are warned of (`odd_labels`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from glotune.data.coded_columns import codes, is_in
from glotune.data.spelling import look_alikes, name_of
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
                f"there is {there} in {self._origin}",
                where="data.train" if given is None else None,
                expected="at least two classes",
                remedy="Check data.columns.label and data.train",
            )

    @property
    def targets(self) -> None:
        """Class ids stand for themselves."""

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


SEVERAL_LABELS = (
    "Several labels per text (multi-label) are learned with another task than single_label: task: multi_label"
)
SCORES = "Scores (regression) are learned with another task than single_label: task: score"

DELIMITERS = "|;,/+&"
MANY = 20
"""So many whole numbers with gaps between them are rather scores than class ids."""
_PLAIN_NUMBER = re.compile(r"[+-]?\d+")
_NOT_A_LABEL = {"nan", "<na>"}
"""What pandas and NumPy print where there is no value; other words of that kind (none, na, null) are labels too."""


@dataclass(frozen=True)
class OddLabels:
    """One thing that is odd about the labels of a column."""

    kind: str
    message: str
    counts: dict[str, int] = field(default_factory=dict)
    """Label -> rows, of the labels concerned."""


def odd_labels(counts: Mapping[str, int]) -> list[OddLabels]:
    """What is odd about the labels of a column, found in their names alone.

    Args:
        counts: label -> its rows.
    """
    found = [_missing(counts), _numeric(counts), _joined(counts), _nearly_unique(counts), *_alike(counts)]
    return [odd for odd in found if odd is not None]


def _missing(counts: Mapping[str, int]) -> OddLabels | None:
    words = [label for label in counts if label.casefold() in _NOT_A_LABEL]
    if not words:
        return None
    message = f"{quoted(words)} is a class of its own: leave the cell empty where it means that there is no label"
    return OddLabels("missing labels", message, _of(counts, words))


def _numeric(counts: Mapping[str, int]) -> OddLabels | None:
    """Numbers with decimals, or many whole ones with gaps: scores, not class ids."""
    labels = [label for label in counts if label.casefold() not in _NOT_A_LABEL]
    if len(labels) < 2 or not all(map(_is_number, labels)):
        return None
    if all(map(_PLAIN_NUMBER.fullmatch, labels)):
        numbers = sorted(map(int, labels))
        if len(numbers) <= MANY or numbers[-1] - numbers[0] < len(numbers):
            return None
    ordered = sorted(labels, key=float)
    message = (
        f"the labels are numbers ({quoted(ordered)}) and each of the {len(labels):,} values is a class of its own. "
        f"{SCORES}. Name ranges of them as classes in data.labels, e.g. {{'{ordered[0]}': low, '{ordered[-1]}': high}}"
    )
    return OddLabels("numeric labels", message, {"labels": len(labels)})


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True


def _joined(counts: Mapping[str, int]) -> OddLabels | None:
    """Labels that join others: all their parts stand alone or in other labels too."""
    for delimiter in DELIMITERS:
        parts = {label: _parts(label, delimiter) for label in counts if delimiter in label}
        known = Counter(part for label in counts for part in set(parts.get(label, _parts(label, delimiter))))
        joined = [label for label, its in parts.items() if len(its) > 1 and all(known[part] > 1 for part in its)]
        if joined:
            message = (
                f"{len(joined):,} labels hold '{delimiter}' and join others by it ({quoted(joined)}): each is a class "
                f"of its own. {SEVERAL_LABELS}, data.columns.delimiter: '{delimiter}'"
            )
            return OddLabels("joined labels", message, _of(counts, joined))
    return None


def _parts(label: str, delimiter: str) -> list[str]:
    """The parts of a label; brackets and quotes of a printed list do not count."""
    parts = [part.strip(" []()'\"") for part in label.split(delimiter)]
    return parts if all(parts) else [label]


def _nearly_unique(counts: Mapping[str, int]) -> OddLabels | None:
    rows = sum(counts.values())
    if len(counts) < MANY // 2 or rows >= 2 * len(counts):
        return None
    message = (
        f"{len(counts):,} labels on {rows:,} rows: nearly every row has a class of its own. Is data.columns.label the "
        "right column?"
    )
    return OddLabels("nearly unique labels", message, {"labels": len(counts)})


def _alike(counts: Mapping[str, int]) -> Iterable[OddLabels]:
    for group in look_alikes(counts):
        message = f"{quoted(group)} look the same and are classes of their own: map them to one name in data.labels"
        yield OddLabels("labels that look the same", message, _of(counts, group))


def _of(counts: Mapping[str, int], labels: Iterable[str]) -> dict[str, int]:
    return {label: counts[label] for label in labels}


def quoted(names: list[str], most: int = 4) -> str:
    """The first few names for a message, invisible characters in them as escapes."""
    shown = ", ".join(repr(name if len(name) <= 40 else name[:39] + "…") for name in names[:most])
    return shown + (", …" if len(names) > most else "")
