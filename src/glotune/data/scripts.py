"""The writing of a text: its script, its Unicode form, and the scars that wrong decoding leaves."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

_SPECIAL = {"CJK": "Han", "IDEOGRAPHIC": "Han", "HALFWIDTH": "Katakana", "FULLWIDTH": "Latin", "MEETEI": "Meetei"}
_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}")
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,8}|#\d{2,6}|#x[0-9a-fA-F]{2,5});")


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
