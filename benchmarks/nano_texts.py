"""The texts that glotune-nano is taught on: pairs, tweets, and the words of both.

A word alone is the shortest text: where a language has a few hundred sentences, what its words mean is most of what
there is to learn from them, and the teacher knows it. Nothing is read that is held out: of pairs only those that the
recipe trains on, of tables with a column ``split`` only rows of ``train``, of labels none.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from glotune.data.opening import open_bytes
from glotune.data.plain_text import read_plain_texts
from glotune.recipe.pretrain import load_pretrain_recipe

RELATED = "arq arz wuu yue zsm"
"""Languages of pairs beside those that the recipe holds pairs out of: so close to one of them that it learns too."""
EMOTIONS = "arq ary chn deu eng esp ptbr rus ukr"
"""Of BRIGHTER: languages of pairs, and their dialects."""
SENTIMENT = "sw"
"""Of AfriSenti, by the same rule: what there are few pairs of."""
MOST_TWEETS, MOST_WORDS, MOST_PHRASES = 400, 1200, 300
"""Of a language."""
LONGEST_TWEET = 70
"""Characters. Longer ones would take most of the teacher's time; their words are learned all the same."""
WITHOUT_SPACES = {"cmn", "jpn", "tha", "wuu", "yue", "khm", "chn"}
SEED = 0


def write(data: Path, out: Path) -> tuple[Path, Path]:
    """Writes ``pairs.csv.gz`` (language, text, english) and ``texts.csv.gz`` (language, text); returns both.

    Args:
        data: a folder with ``tatoeba``, ``brighter_emotions`` and ``afrisenti``.
    """
    out.mkdir(parents=True, exist_ok=True)
    recipe = load_pretrain_recipe("nano-taught", {"data.pairs": "", "data.text": None})
    languages = {*(recipe.data.held_out.languages or []), *RELATED.split()}
    pairs = _write(out / "pairs.csv.gz", ("language", "text", "english"), _pairs(data, languages))
    given = load_pretrain_recipe(recipe, {"data.pairs": str(pairs)}).data
    of_pairs = read_plain_texts(given, from_scratch=True, seed=recipe.seed).by_language()
    tweets = dict(_tweets(data))
    rows = [
        (f"{language}-tweets", text)
        for language, texts in tweets.items()
        for text in [text for text in texts if len(text) <= LONGEST_TWEET][:MOST_TWEETS]
    ]
    for language in sorted(of_pairs | tweets):
        if language not in WITHOUT_SPACES:
            texts = of_pairs.get(language, []) + tweets.get(language, [])
            rows += [(f"{language}-words", part) for part in parts(texts, [SEED, *language.encode()])]
    return pairs, _write(out / "texts.csv.gz", ("language", "text"), rows)


def parts(texts: Sequence[str], seed: Sequence[int]) -> list[str]:
    """The most frequent words of these texts, and runs of two to four words of them, drawn by chance."""
    split = [_words(text) for text in texts]
    counts = Counter(word for words in split for word in words)
    chosen = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS]]
    generator = np.random.default_rng(seed)
    phrases = set()
    for place in generator.integers(0, len(split), MOST_PHRASES).tolist():
        length, words = int(generator.integers(2, 5)), split[place]
        if len(words) > length:
            start = int(generator.integers(0, len(words) - length + 1))
            phrases.add(" ".join(words[start : start + length]))
    return [*chosen, *sorted(phrases)]


def _words(text: str) -> list[str]:
    """Without punctuation around them, nor names of users, addresses and numbers."""
    found = []
    for raw in text.split():
        word = raw.strip("".join(character for character in raw if unicodedata.category(character)[0] in "PSC"))
        if word and not re.match(r"@|http|.*\d", raw) and any(character.isalpha() for character in word):
            found.append(word.casefold())
    return found


def _pairs(data: Path, languages: set[str]) -> Iterator[tuple[str, ...]]:
    for row in _rows(data / "tatoeba" / "parallel.csv.gz"):
        if row["language"] in languages:
            yield row["language"], row["text"], row["english"]


def _tweets(data: Path) -> Iterator[tuple[str, list[str]]]:
    folders = [(data / "brighter_emotions", EMOTIONS), (data / "afrisenti", SENTIMENT)]
    for folder, languages in folders:
        for language in languages.split():
            (file,) = folder.glob(f"{language}.csv*")
            texts = sorted({" ".join(row["text"].split()) for row in _rows(file) if row["split"] == "train"})
            order = np.random.default_rng([SEED, *language.encode()]).permutation(len(texts))
            yield language, [texts[place] for place in order]


def _rows(file: Path) -> Iterator[dict[str, str]]:
    with open_bytes(file) as content, io.TextIOWrapper(content, encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with gzip.open(path, "wt", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path
