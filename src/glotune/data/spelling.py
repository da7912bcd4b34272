"""One spelling for each name in a file (label, language, split, column), and what of a text can be seen."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

BLANKS = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""What Python's `str.strip` cuts off."""
_WITHOUT_MEANING = (
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\ufeff"
)
"""Never seen and never part of a name: soft hyphens, zero-width spaces, direction marks, byte order marks."""
_JOINERS = "\u200c\u200d"
"""Part of the spelling inside a word of Persian or Bangla, or of an emoji; without meaning at its ends."""
_SELECTORS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0" + "".join(
    map(chr, range(0xFE00, 0xFE10))
)
"""Fillers and variation selectors: they choose the look of a character beside them, and are nothing alone."""
INVISIBLE = _WITHOUT_MEANING + _JOINERS + _SELECTORS
NOTHING_SEEN = BLANKS + INVISIBLE
"""A text of these characters alone is an empty text."""

_DROPPED = str.maketrans("", "", _WITHOUT_MEANING)
_ALL_DROPPED = str.maketrans("", "", INVISIBLE)


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen: blanks and zero-width characters alone, or nothing at all."""
    return not text.strip(NOTHING_SEEN)


def name_of(value: str) -> str:
    """The one spelling of a name: in NFC, without invisible characters that mean nothing, without blanks around it.

    ``"caf\\u0065\\u0301"``, ``" caf\\u00e9"`` and ``"caf\\u00e9\\u200b"`` are one name; ``"Caf\\u00e9"`` is another.
    """
    if value.isascii():
        return value.strip(BLANKS)
    return unicodedata.normalize("NFC", value.translate(_DROPPED)).strip(BLANKS + _JOINERS)


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """Groups of different names that people take for one: they differ in case, width, joiners or inner blanks alone."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        seen = unicodedata.normalize("NFKC", name).casefold().translate(_ALL_DROPPED)
        groups[" ".join(unicodedata.normalize("NFC", seen).split())].append(name)
    return [group for group in groups.values() if len(group) > 1]
