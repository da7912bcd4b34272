"""Label values that would train without an error and yet are hardly meant as classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from glotune.data.spelling import look_alikes

_ONLY_TASK = "the recipe's task can only be single_label, one class per text"
SEVERAL_LABELS = f"Several labels per text (multi-label) are not supported yet: {_ONLY_TASK}"
SCORES = f"Scores (regression) are not supported yet: {_ONLY_TASK}"

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
                f"{len(joined):,} labels join others by '{delimiter}' ({quoted(joined)}) and each is a class of its "
                f"own. {SEVERAL_LABELS}. Keep one label per row"
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
