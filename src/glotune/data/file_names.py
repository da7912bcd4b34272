"""What the name of a file, or of a folder in a data set, says about its rows: their split and their language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from glotune.languages import is_language
from glotune.recipe.schema import SplitNames

SPELLINGS = {"training": "train", "development": "dev", "testing": "test"}
"""Words that mean what a split name means, in file names alone."""
UNCERTAIN = ("eval", "evaluation", "heldout", "held-out", "held_out", "holdout", "hold-out", "hold_out")
"""Words that mean validation to some and test to others."""
_SHARD = re.compile(r"[-_](\d{5})[-_]of[-_](\d{5})(?:-[0-9a-f]+)?$")
"""As the Hub's tools cut files: ``train-00000-of-00002``, in older ones followed by a hash."""


@dataclass(frozen=True)
class Said:
    """What one name says."""

    splits: tuple[str, ...] = ()
    """Its split words, as ``data.split_names`` has them where it has them."""
    language: str | None = None
    shards: tuple[str, int] | None = None
    """The name that its sister files share, and how many they are: ``train-00000-of-00002``; None for a whole file."""

    def under(self, name: Said) -> Said:
        """What a file or folder of this name says inside one that says this: the nearer language, both splits."""
        return Said(self.splits + name.splits, name.language or self.language, name.shards)


def stem_of(name: str) -> str:
    """The name of a file without what says its format: ``en.train`` of ``en.train.csv.gz``."""
    path = PurePath(name)
    return PurePath(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def said_by(stem: str, names: SplitNames) -> Said:
    """What a folder's name, or a file's without its ending, says.

    The language is the whole name or what is left of it without split words (``en``, ``en_test``, ``test.zh-TW``), or
    the part of that before the first dot (``bn.reviews``).
    """
    shard = _SHARD.search(stem)
    name = stem[: shard.start()] if shard else stem
    shards = (name, int(shard[2])) if shard else None
    if is_language(name):
        return Said((), name, shards)
    words = _words(names)
    pattern = _pattern(words)
    found = dict.fromkeys(words[word.casefold()] for word in pattern.findall(name))
    rest = pattern.sub("", name).strip("-_. ")
    language = next((each for each in (rest, rest.split(".")[0]) if is_language(each)), None)
    return Said(tuple(found), language, shards)


def language_of(name: str) -> str | None:
    """The language that a file's name says, split words aside; None where it says none."""
    return said_by(stem_of(name), SplitNames()).language


def split_meant(word: str, names: SplitNames) -> str | None:
    """``train``, ``validation`` or ``test``; None for a word that no split has."""
    return next((split for split in SplitNames.model_fields if word in getattr(names, split)), None)


def _words(names: SplitNames) -> dict[str, str]:
    """Each word that says a split, in lower case -> the name that the recipe has for it, else itself."""
    known = {name.casefold(): name for split in SplitNames.model_fields for name in getattr(names, split)}
    words = {name: name for name in UNCERTAIN}
    words |= {word: known[name] for word, name in SPELLINGS.items() if name in known}
    return words | {word: name for word, name in known.items() if re.sub("[-_]", "", word).isalpha()}


def _pattern(words: dict[str, str]) -> re.Pattern[str]:
    """Finds whole words: ``test`` in ``en_test2`` and ``testset``, not in ``contest``."""
    longest_first = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![^\W\d_])({longest_first})(?:[-_]?(?:set|data|split))?(?![^\W\d_])", re.IGNORECASE)
