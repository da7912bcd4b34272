"""Words of training texts replaced by their translations (code-switching; Qin et al. 2020, arXiv:2006.06402).

A word is what stands between spaces, less what is neither letter, mark nor digit at its ends; it is looked up whatever
its case. Where the translations come from is told in `dictionaries`.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

_TOKEN = re.compile(r"(\S+)")

Entries = Mapping[str, tuple[str, ...]]
"""Word -> its translations."""


@dataclass(frozen=True)
class Dictionary:
    """What the words of the source languages are in others."""

    words: Mapping[str, Mapping[str, Entries]]
    """Source language -> language -> entries; words as `looked_up` spells them."""
    known: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Source language -> which share of the words of its training texts has a translation."""

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over all that it says."""
        return hashlib.sha256(json.dumps(self.words, sort_keys=True).encode()).digest()

    @cached_property
    def _choices(self) -> dict[str, dict[str, list[tuple[str, ...]]]]:
        """Source language -> word -> its translations by language."""
        found: dict[str, dict[str, list[tuple[str, ...]]]] = {}
        for source, by_language in self.words.items():
            choices = found.setdefault(source, defaultdict(list))
            for language in sorted(by_language):
                for word, translations in by_language[language].items():
                    choices[word].append(translations)
        return found

    def switched(self, text: str, language: str, share: float, draw: np.random.Generator) -> str:
        """The text with that share of its words replaced, or all that have a translation where these are fewer; texts
        of other languages than the sources stay as they are."""
        choices = self._choices.get(language)
        if choices is None:
            return text
        pieces = _TOKEN.split(text)  # blanks and tokens in turn: what stands between words stays
        parts = {place: parted(token) for place, token in enumerate(pieces) if place % 2}
        words = {place: word for place, each in parts.items() if (word := looked_up(each[1]))}
        known = [place for place, word in words.items() if word in choices]
        # A share of a word is a chance: of short texts, too, that share is replaced in the mean.
        wanted = min(len(known), int(share * len(words) + draw.random()))
        for place in sorted(draw.choice(known, wanted, replace=False).tolist()) if wanted else ():
            languages = choices[words[place]]
            translations = languages[int(draw.integers(len(languages)))]
            before, word, after = parts[place]
            pieces[place] = before + in_case_of(word, translations[int(draw.integers(len(translations)))]) + after
        return "".join(pieces)


def parted(token: str) -> tuple[str, str, str]:
    """What stands before a word, the word, and what stands after it."""
    first, end = 0, len(token)
    while first < end and not _belongs(token[first]):
        first += 1
    while end > first and not _belongs(token[end - 1]):
        end -= 1
    return token[:first], token[first:end], token[end:]


def _belongs(character: str) -> bool:
    """Letters, marks (vowel signs are) and digits."""
    return character.isalnum() or unicodedata.category(character)[0] == "M"


def looked_up(word: str) -> str:
    """The spelling that a word is looked up by; nothing for what has no letter."""
    return unicodedata.normalize("NFC", word).casefold() if any(map(str.isalpha, word)) else ""


def in_case_of(word: str, translation: str) -> str:
    """The translation in capitals, or with a capital first, where the word is; else as the dictionary has it."""
    if len(word) > 1 and word.isupper():
        return translation.upper()
    return translation[:1].upper() + translation[1:] if word[:1].isupper() else translation


def words_of(text: str) -> list[str]:
    """The words of a text, as they are looked up."""
    return [word for token in text.split() if (word := looked_up(parted(token)[1]))]
