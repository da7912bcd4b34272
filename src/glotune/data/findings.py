"""What the data doctor looks for; each function looks at all splits and says what it found, with examples."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np

from glotune.data.checks import conflicting, repeated
from glotune.data.label_names import odd_labels
from glotune.data.near_duplicates import near_duplicate_groups
from glotune.data.texts import LabelledTexts, first_rows
from glotune.languages import language_scripts

Severity = Literal["problem", "warning", "note"]
Splits = dict[str, LabelledTexts]
EXAMPLES = 5
_ARTICLES = {"replacement character": "a", "escape": "an", "HTML entity": "an", "control character": "a"}
SNIPPET = 120
"""Most characters of a text to show."""
_SPECIAL = {"CJK": "Han", "IDEOGRAPHIC": "Han", "HALFWIDTH": "Katakana", "FULLWIDTH": "Latin", "MEETEI": "Meetei"}
_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}")
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,8}|#\d{2,6}|#x[0-9a-fA-F]{2,5});")


@dataclass(frozen=True)
class Example:
    """A row that shows a finding."""

    split: str
    language: str
    row: int
    label: str
    text: str


@dataclass(frozen=True)
class Finding:
    """One thing that the doctor found."""

    kind: str
    severity: Severity
    """``problem``: scores on this data would mislead, or training would fail; ``warning``: worth a look."""
    message: str
    counts: dict[str, int]
    """``split/language`` (or what the message counts) -> how many."""
    examples: list[Example] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many in all."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Rows:
    """All splits one after another, for looking across them; N rows in all."""

    splits: Splits
    labels: list[str]
    split: np.ndarray
    """[N], index of the split, in the order of `splits`."""
    language: np.ndarray
    """[N] language codes."""
    keys: np.ndarray
    """[N] int64."""
    texts: list[str]
    """[N], pairs joined by a line break."""

    @classmethod
    def of(cls, splits: Splits, labels: list[str]) -> Rows:
        """Gathers the splits."""
        each = list(splits.values())
        texts = [text for split in each for text in _texts(split)]
        languages = np.concatenate([np.array(split.language_names, object)[split.language_ids] for split in each])
        split = np.concatenate([np.full(len(rows), index) for index, rows in enumerate(each)])
        return cls(splits, labels, split, languages, np.concatenate([rows.keys for rows in each]), texts)

    def finding(self, kind: str, severity: Severity, message: str, mask: np.ndarray) -> list[Finding]:
        """A finding about the rows of `mask` [N]; none where the mask is empty. ``{n}`` in the message is filled in."""
        if not mask.any():
            return []
        names = list(self.splits)
        counts = Counter(f"{names[self.split[i]]}/{self.language[i]}" for i in np.flatnonzero(mask))
        examples = [self.example(int(i)) for i in np.flatnonzero(mask)[:EXAMPLES]]
        text = counted(int(mask.sum()), message)
        return [Finding(kind, severity, text, dict(sorted(counts.items())), examples)]

    def example(self, index: int) -> Example:
        """The row at a place of `texts`."""
        names = list(self.splits)
        within = index - int(np.searchsorted(self.split, self.split[index]))
        name = names[self.split[index]]
        rows = self.splits[name]
        text = self.texts[index]
        shown = text if len(text) <= SNIPPET else text[: SNIPPET - 1] + "…"
        label = self.labels[int(rows.labels[within])]
        return Example(name, str(self.language[index]), int(rows.rows[within]), label, shown)


def counted(count: int, message: str) -> str:
    """`message` with ``{n}`` filled in, its first verb and noun in the singular where `count` is 1."""
    if count == 1:
        for many, one in _SINGULAR:
            message = message.replace(many, one, 1)
    return message.format(n=f"{count:,}")


_SINGULAR = (
    ("{n} rows", "{n} row"),
    ("{n} texts", "{n} text"),
    (" row have", " row has"),
    (" row repeat ", " row repeats "),
    (" row share ", " row shares "),
    (" row hold ", " row holds "),
    (" row are ", " row is "),
    (" text are ", " text is "),
)


def _texts(split: LabelledTexts) -> Iterator[str]:
    for chunk in split.chunks(8192):
        texts = chunk.column("text").to_pylist()
        pairs = chunk.column("text_pair").to_pylist() if split.has_pairs else None
        yield from texts if pairs is None else map("\n".join, zip(texts, pairs, strict=True))


def exact_duplicates(rows: Rows) -> list[Finding]:
    """Equal texts inside a split, across splits, and across languages."""
    again = np.concatenate([repeated(split.first_rows) for split in rows.splits.values()])
    first_split: dict[int, int] = {}
    for key, split in zip(rows.keys.tolist(), rows.split.tolist(), strict=True):
        first_split.setdefault(key, split)
    earlier = np.array([first_split[key] for key in rows.keys.tolist()]) < rows.split
    return [
        *rows.finding("leaked rows", "problem", "{n} rows have a text that stands in an earlier split too", earlier),
        *rows.finding("repeated rows", "warning", "{n} rows repeat an earlier text of their split", again),
        *rows.finding(
            "texts in two languages", "warning", "{n} rows have a text that stands in two languages", _in_two(rows)
        ),
    ]


def _in_two(rows: Rows) -> np.ndarray:
    codes = np.unique(rows.language.astype(str), return_inverse=True)[1]
    return conflicting(first_rows(rows.keys), codes)


def near_duplicates(rows: Rows, similarity: float) -> list[Finding]:
    """Texts that are almost equal to one of an earlier split, or to an earlier one of the same split."""
    _, first = np.unique(rows.keys, return_index=True)
    first = np.sort(first)
    groups = near_duplicate_groups([rows.texts[i] for i in first], similarity=similarity)
    moved = groups != np.arange(len(groups))
    across, inside = np.zeros(len(rows.keys), bool), np.zeros(len(rows.keys), bool)
    crosses = rows.split[first] != rows.split[first[groups]]
    across[first[moved & crosses]], inside[first[moved & ~crosses]] = True, True
    share = f"{similarity:.0%}"
    return [
        *rows.finding("near-leaked rows", "warning", f"{{n}} rows are {share} like a text of an earlier split", across),
        *rows.finding(
            "near-repeated rows", "note", f"{{n}} texts are {share} like an earlier one of the split", inside
        ),
    ]


def conflicting_labels(rows: Rows) -> list[Finding]:
    """Equal texts with different labels, in any split."""
    labels = np.concatenate([split.labels for split in rows.splits.values()])
    message = "{n} rows share their text with a row of another label"
    return rows.finding("conflicting labels", "warning", message, conflicting(first_rows(rows.keys), labels))


def writing(rows: Rows) -> list[Finding]:
    """Scripts that the language is not written in, mixed Unicode forms, scars of wrong decoding."""
    count = len(rows.texts)
    odd, loose = np.zeros(count, bool), np.zeros(count, bool)
    flaws: dict[str, np.ndarray] = {}
    usual = {code: language_scripts(code) for code in set(rows.language.tolist())}
    for index, (text, code) in enumerate(zip(rows.texts, rows.language.tolist(), strict=True)):
        if not text.isascii():
            loose[index] = not unicodedata.is_normalized("NFC", text)
        odd[index] = bool(usual[code]) and is_odd(text, usual[code])
        for flaw in flaws_of(text):
            flaws.setdefault(flaw, np.zeros(count, bool))[index] = True
    found = [
        *rows.finding("odd script", "note", "{n} rows are mostly in a script that the language is not written in", odd),
        *rows.finding(
            "Unicode form", "note", "{n} rows are not in NFC (data.normalization: NFC makes equal texts equal)", loose
        ),
    ]
    for flaw, mask in sorted(flaws.items()):
        severity: Severity = "warning" if flaw in ("replacement character", "control character") else "note"
        found += rows.finding(flaw, severity, f"{{n}} rows hold {_ARTICLES[flaw]} {flaw}", mask)
    return found


def label_balance(rows: Rows) -> list[Finding]:
    """Labels that a split of a language lacks, or has hardly; shares that move between training and test."""
    counts = label_counts(rows)
    absent = {
        f"{split}/{language}: {label}": 1
        for (split, language), row in counts.items()
        for label, count in zip(rows.labels, row, strict=True)
        if not count
    }
    found = []
    if absent:
        message = f"{len(absent)} labels have no row in a split of a language"
        found.append(Finding("absent labels", "warning", message, absent))
    moved: dict[str, int] = {}
    for (split, language), row in counts.items():
        base = counts.get(("train", language))
        if split == "test" and base is not None:
            distance = float(np.abs(row / row.sum() - base / base.sum()).sum() / 2)
            moved |= {f"test/{language}": round(100 * distance)} if distance > 0.1 else {}
    if moved:
        message = "the shares of the labels differ between train and test by over 10 points, namely by"
        found.append(Finding("moved label shares", "note", message, moved))
    return found


def odd_label_names(rows: Rows) -> list[Finding]:
    """Labels that are hardly meant as classes: numbers, several joined, one per row, two that look the same."""
    totals = np.sum(list(label_counts(rows).values()), axis=0)
    counts = {label: int(count) for label, count in zip(rows.labels, totals, strict=True)}
    return [Finding(odd.kind, "warning", odd.message, odd.counts) for odd in odd_labels(counts)]


def label_counts(rows: Rows) -> dict[tuple[str, str], np.ndarray]:
    """(split, language) -> rows per label, [C]."""
    found = {}
    for name, split in rows.splits.items():
        for index, language in enumerate(split.language_names):
            mine = split.labels[split.language_ids == index]
            found[name, language] = np.bincount(mine, minlength=len(rows.labels))
    return found


@lru_cache(maxsize=65_536)
def script_of(character: str) -> str:
    """Script of a letter by its Unicode name, e.g. ``Bengali``; empty for what is no letter."""
    if unicodedata.category(character)[0] != "L":
        return ""
    first = unicodedata.name(character, "").partition(" ")[0].partition("-")[0]
    return _SPECIAL.get(first, first.capitalize())


def scripts_of(text: str) -> Counter[str]:
    """Letters per script."""
    counts = Counter(map(script_of, text))
    del counts[""]
    return counts


def is_odd(text: str, usual: tuple[str, ...]) -> bool:
    """Whether most letters are of scripts other than the `usual` ones; never for a text without letters."""
    counts = scripts_of(text)
    total = counts.total()
    return total > 0 and sum(counts[script] for script in usual) * 2 < total


def flaws_of(text: str) -> list[str]:
    """What hints at wrong decoding: ``replacement character``, ``escape``, ``HTML entity``, ``control character``."""
    found = []
    if "\ufffd" in text:
        found.append("replacement character")
    if "\\" in text and _ESCAPE.search(text):
        found.append("escape")
    if "&" in text and _ENTITY.search(text):
        found.append("HTML entity")
    if any(character < " " and character not in "\t\n\r" for character in text):
        found.append("control character")
    return found
