"""Writes the quickstart corpus from its lexicon: the same bytes every time.

    python -m documentation.toy_corpus.generate [FOLDER]

Combinations are drawn in the order of a hash of their identifiers, the least used pattern and noun first, so that
neither Python's version nor its random generator has a say. Test is drawn first and in every language alike: row
by row, the test splits of all languages say the same.
"""

from __future__ import annotations

import csv
import hashlib
import io
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from documentation.toy_corpus import CORPUS, WORDS
from documentation.toy_corpus.lexicon import CorpusPlan, GroupPlan, Lexicon, Role, read_lexicon, read_plan
from glotune.errors import UserError

COLUMNS = ("text", "label", "language", "split")
SPLITS = ("train", "validation", "test")

Combination = tuple[str, str]
"""(pattern, noun) identifiers."""


@dataclass(frozen=True)
class Meaning:
    """One row before it is said in a language."""

    split: str
    label: str
    identifier: str
    say: Callable[[Lexicon], str]


def meanings(plan: CorpusPlan, source: Lexicon) -> list[Meaning]:
    """Every row of the source language, in the order of the file; the other languages have the test rows of it."""
    found = []
    for (name, group), label in product(plan.groups.items(), plan.labels):
        for split, combinations in draw(group, label, plan.rows, f"{name}/{label}").items():
            found += [_combined(split, label, name, pattern, noun) for pattern, noun in combinations]
    for label in plan.labels:
        found += [_scene(label, identifier) for identifier in plan.scenes[label]]
        for split, texts in source.own_scenes.items():
            found += [_own_scene(split, label, text) for text in texts[label]]
    return sorted(found, key=lambda m: (SPLITS.index(m.split), _order(m.identifier)))


def draw(group: GroupPlan, label: str, rows: dict[str, int], key: str) -> dict[str, list[Combination]]:
    """Combinations of one group and label per split: disjoint, and with as even a use of each word as can be.

    Raises:
        UserError: the plan asks for more rows than there are combinations.
    """
    drawn: dict[str, list[Combination]] = {}
    taken: set[Combination] = set()
    for split in reversed(SPLITS):
        roles: tuple[Role, ...] = ("shared", "test") if split == "test" else ("shared", "train")
        patterns = [p for role in roles for p in group.patterns[label][role]]
        nouns = [n for role in roles for n in group.nouns[role]]
        free = [pair for pair in product(patterns, nouns) if pair not in taken]
        if len(free) < rows[split]:
            raise UserError(
                f"{rows[split]} rows of {split} for {key}", where="plan.yaml", expected=f"at most {len(free)}"
            )
        drawn[split] = _evenly(free, rows[split], f"{key}/{split}")
        taken |= set(drawn[split])
    return drawn


def corpus(plan: CorpusPlan, folder: Path) -> dict[str, str]:
    """File name -> CSV text of every language of the plan, read from the lexicon in `folder`.

    Raises:
        UserError: a sentence is there twice, or a test sentence is also one of training.
    """
    source = read_lexicon(folder, plan.source_language)
    rows = meanings(plan, source)
    test = [row for row in rows if row.split == "test"]
    files = {}
    for language in plan.languages:
        lexicon = source if language == plan.source_language else read_lexicon(folder, language)
        files[f"{language}.csv"] = _csv(lexicon, rows if lexicon is source else test)
    return files


def normalized(text: str) -> str:
    """The text as compared for leaks: NFKC, case folded, letters, marks and digits only."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded).split())


def write(folder: Path) -> list[Path]:
    """Write every file of the corpus into `folder` from the lexicon; returns the paths."""
    paths = []
    for name, text in corpus(read_plan(WORDS), WORDS).items():
        path = folder / name
        path.write_text(text, encoding="utf-8", newline="\n")
        paths.append(path)
    return paths


def _combined(split: str, label: str, group: str, pattern: str, noun: str) -> Meaning:
    return Meaning(split, label, f"{group}/{label}/{pattern}/{noun}", lambda lexicon: lexicon.say(group, pattern, noun))


def _scene(label: str, identifier: str) -> Meaning:
    return Meaning("test", label, f"scene/{label}/{identifier}", lambda lexicon: lexicon.scene(label, identifier))


def _own_scene(split: str, label: str, text: str) -> Meaning:
    return Meaning(split, label, f"scene/{label}/{text}", lambda lexicon: text)


def _evenly(pairs: list[Combination], count: int, key: str) -> list[Combination]:
    waiting = sorted(pairs, key=lambda pair: _order(f"{key}/{pair[0]}/{pair[1]}"))
    used: Counter[tuple[int, str]] = Counter()
    chosen = []
    for _ in range(count):
        pattern, noun = min(waiting, key=lambda pair: used[0, pair[0]] + used[1, pair[1]])
        waiting.remove((pattern, noun))
        used.update([(0, pattern), (1, noun)])
        chosen.append((pattern, noun))
    return chosen


def _order(identifier: str) -> bytes:
    return hashlib.sha256(identifier.encode()).digest()


def _csv(lexicon: Lexicon, rows: list[Meaning]) -> str:
    seen: dict[str, str] = {}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        text = row.say(lexicon)
        key = normalized(text)
        if key in seen:
            raise UserError(
                f"'{text}' is said twice, by {seen[key]} and {row.identifier}", where=f"{lexicon.language}.yaml"
            )
        seen[key] = row.identifier
        writer.writerow((text, row.label, lexicon.language, row.split))
    return buffer.getvalue()


if __name__ == "__main__":
    for written in write(Path(sys.argv[1]) if len(sys.argv) > 1 else CORPUS):
        sys.stdout.write(f"{written}\n")
