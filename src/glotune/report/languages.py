"""Names and text direction of languages, for readers that may not import the data room (it is a floor above)."""

from __future__ import annotations

import csv
import unicodedata
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).parent.parent / "data" / "languages.csv"
"""Data, not code: the one table of codes, names and scripts."""


@cache
def _names() -> dict[str, str]:
    with _TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row[key]: row["name"] for row in rows for key in ("code", "code3")}


def language_name(code: str) -> str:
    """English name, e.g. ``bn`` -> ``Bangla``; with the region kept, ``zh-TW`` -> ``Chinese (TW)``; else the code."""
    names = _names()
    if code in names:
        return names[code]
    head, _, tail = code.replace("_", "-").partition("-")
    return f"{names[head]} ({tail})" if head in names and tail else code


def named(code: str) -> str:
    """``bn`` -> ``Bangla (bn)``; the bare code where it has no name."""
    name = language_name(code)
    return code if name == code else f"{name} ({code})"


def direction(text: str) -> str:
    """``rtl`` where most letters with a direction run right to left, else ``ltr``.

    The browser's own rule looks at the first letter alone, which in a tweet is often a Latin user name.
    """
    balance = 0
    for character in text:
        kind = unicodedata.bidirectional(character)
        balance += (kind in ("R", "AL")) - (kind == "L")
    return "rtl" if balance > 0 else "ltr"
