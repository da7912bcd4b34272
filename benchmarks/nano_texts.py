"""The texts that glotune-nano is taught on: pairs, tweets, their words, and what can be made of these.

A word alone is the shortest text: where a language has a few hundred sentences, what its words mean is most of what
there is to learn from them, and the teacher knows it. It can also be asked about texts that nobody wrote: sentences
some of whose words are replaced by others of their language put rare words beside frequent ones, and the pieces of the
teacher's own vocabulary that are words are words that no text here has. Nothing is read that is held out: of pairs only
those that the recipe trains on, of tables with a column ``split`` only rows of ``train``, of labels none.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
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
EMOTIONS = "arq ary chn deu eng esp ptbr rus swe ukr"
"""Of BRIGHTER: languages of pairs, and their dialects."""
SENTIMENT = "sw"
"""Of AfriSenti, by the same rule: what there are few pairs of."""
MOST_TWEETS, MOST_WORDS, MOST_PHRASES, MOST_MADE = 4000, 20_000, 2000, 4000
"""Of a language: tweets, words, runs of words, sentences with words replaced."""
MOST_PIECES = 20_000
"""Of a script: words of the teacher's vocabulary, the most frequent first."""
SPACED = ("arabic", "bengali", "cyrillic", "devanagari", "greek", "hangul", "hebrew", "latin")
UNSPACED = ("cjk", "hiragana", "katakana", "thai")
"""Scripts of the languages of pairs, as Unicode's names of characters begin."""
REPLACED = 0.4
"""Share of the words of a made sentence that are replaced."""
LONGEST_TWEET = 200
"""Characters. Longer ones are left out; their words are learned all the same."""
WITHOUT_SPACES = {"cmn", "jpn", "tha", "wuu", "yue", "khm", "chn"}
SEED = 0


def write(data: Path, out: Path, teacher: Path) -> tuple[Path, Path]:
    """Writes ``pairs.csv.gz`` (language, text, english) and ``texts.csv.gz`` (language, text); returns both.

    Args:
        data: a folder with ``tatoeba``, ``brighter_emotions`` and ``afrisenti``.
        teacher: a folder with the teacher's ``tokenizer.json``, a Unigram's.
    """
    out.mkdir(parents=True, exist_ok=True)
    recipe = load_pretrain_recipe("nano", {"data.pairs": "", "data.text": None})
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
            texts, seed = of_pairs.get(language, []) + tweets.get(language, []), [SEED, *language.encode()]
            rows += [(f"{language}-words", part) for part in parts(texts, seed)]
            rows += [(f"{language}-made", made) for made in mixtures(texts, seed)]
    for script, words in pieces(teacher / "tokenizer.json").items():
        rows += [(f"{script}-pieces", word) for word in words]
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


def mixtures(texts: Sequence[str], seed: Sequence[int]) -> list[str]:
    """Sentences of these texts, some of whose words are replaced by others of them, a rare one as likely as any."""
    split = [words for text in texts if len(words := _words(text)) > 2]
    known = sorted({word for words in split for word in words})
    generator = np.random.default_rng(seed)
    made = set()
    for place in generator.integers(0, len(split), MOST_MADE).tolist():
        words = split[place]
        others = generator.integers(0, len(known), len(words)).tolist()
        replaced = generator.random(len(words)) < REPLACED
        made.add(
            " ".join(known[other] if new else word for word, other, new in zip(words, others, replaced, strict=True))
        )
    return sorted(made)


def pieces(tokenizer: Path) -> dict[str, list[str]]:
    """Script -> the most frequent pieces of a Unigram vocabulary that are words, or may be.

    Where words stand between spaces, a piece that begins one and has three letters; elsewhere two letters.
    """
    vocabulary = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
    found: dict[str, dict[str, None]] = {script: {} for script in (*SPACED, *UNSPACED)}
    for piece, _ in sorted(vocabulary, key=lambda entry: (-entry[1], entry[0])):
        word = piece.removeprefix("▁").casefold()
        if len(word) < 2 or any(unicodedata.category(character)[0] not in "LM" for character in word):
            continue
        script = unicodedata.name(word[0], "").split(" ")[0].lower()
        if script in UNSPACED or (script in SPACED and piece != word and len(word) > 2):
            found[script][word] = None
    return {script: list(words)[:MOST_PIECES] for script, words in found.items()}


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
