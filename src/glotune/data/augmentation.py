"""The training texts as each epoch reads them: said otherwise, their words changed, their pieces drawn at random.

Every change is a function of (seed, epoch, row), whatever else was drawn and on whatever machine: a resumed run reads
the same, and so does one cut otherwise. An epoch's texts are tokenized once, into a store of their own, before the
vocabulary is trimmed. Validation and test texts are never touched.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from glotune.data.cache import open_or_build
from glotune.data.coded_columns import strings_of
from glotune.data.cutting import Cutting
from glotune.data.texts import TextData, paraphrases_hash, strings_hash, text_hash
from glotune.data.tokenization import (
    OnProgress,
    OnWarning,
    TokenStore,
    fast_backend,
    has_types,
    identity_of,
    inputs_of,
    open_store,
    untruncated,
    write_store,
)
from glotune.data.translations import Translations, translations_in
from glotune.data.unicode_form import normalising
from glotune.data.windows import Reach
from glotune.errors import UserError
from glotune.recipe import schema

STREAM, SECOND = 4, 5
"""Of the texts as an epoch reads them, and of their second view; apart from those of initialisation and training."""
PIECES, PARAPHRASE, SWITCH, TRANSLATION = 1, 2, 3, 4
"""Words, pieces and whole texts are drawn apart, so that a second view has the same words."""
REMEMBERED = 1 << 16
"""Distinct words whose segmentations are kept."""


@dataclass(frozen=True)
class View:
    """What one of the views of a training text is made by, from the text to its pieces; nothing: as it is."""

    stream: int
    """Of its pieces and switched words."""
    word_dropout: float = 0.0
    word_swap: float = 0.0
    subword: float | None = None
    paraphrased: bool = False
    switched: float = 0.0
    """Share of the words with a translation that are replaced."""
    switch_stream: int = STREAM
    """Of the replaced words: the second view has those of the first, unless they are what it differs in."""
    translated: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it reads the texts as they are."""
        return self == View(self.stream, switch_stream=self.switch_stream)


def views_of(recipe: schema.Recipe) -> tuple[View, View | None]:
    """The first view, and the second; None: it reads what the first one reads."""
    own, spec = recipe.data.augment, recipe.loss.consistency
    kinds = set() if spec is None else set(spec.views) - {"dropout"}
    switch = None if own is None else own.code_switch
    share = 0.0 if switch is None else switch.share
    first = View(STREAM)
    if own is not None:
        first = replace(first, word_dropout=own.word_dropout, word_swap=own.word_swap, subword=own.subword,
                        paraphrased=own.back_translations is not None, switched=share)  # fmt: skip
    second = replace(first, stream=SECOND)
    if spec is not None and "subword" in kinds:
        second = replace(second, subword=spec.alpha)
    if "code_switch" in kinds:
        first, second = replace(first, switched=0.0), replace(second, switch_stream=SECOND)
    if "translation" in kinds:
        second = replace(second, translated=True)
    return first, second if kinds else None


def with_augmented(
    stores: Mapping[str, TokenStore],
    texts: TextData,
    tokenizer: Any,
    recipe: schema.Recipe,
    cache: Path,
    *,
    on_warning: OnWarning | None = None,
    progress: OnProgress | None = None,
) -> Mapping[str, TokenStore]:
    """The stores, the training texts' with what each epoch reads in their place; as they are where nothing is asked.

    Raises:
        UserError: subword sampling with a tokenizer that is no Unigram model.
    """
    first, second = views_of(recipe)
    if first.is_plain and second is None:
        return stores
    made: list[TokenStore] = []
    plain = stores["train"]
    augmenting = Augmenting(texts, tokenizer, recipe, cache, on_warning)
    with untruncated(augmenting.backend), normalising(augmenting.backend, recipe.data.normalization):
        for epoch in range(recipe.train.epochs):
            read = plain if first.is_plain else augmenting.store(first, epoch)
            made.append(replace(read, twin=None if second is None else augmenting.store(second, epoch)))
            if progress is not None:
                progress(epoch + 1, recipe.train.epochs)
    return {**stores, "train": replace(plain, epochs=tuple(made))}


@dataclass(frozen=True)
class Augmenting:
    """What the changed texts of a run are made of."""

    texts: TextData
    tokenizer: Any
    recipe: schema.Recipe
    cache: Path
    on_warning: OnWarning | None

    @property
    def backend(self) -> Any:
        """The `tokenizers.Tokenizer`."""
        return fast_backend(self.tokenizer)

    def store(self, view: View, epoch: int) -> TokenStore:
        """The training texts as an epoch reads them; kept like all tokens, by what they depend on."""
        data, seed, split = self.recipe.data, self.recipe.seed, self.texts.splits["train"]
        uses_types = has_types(self.tokenizer, split.has_pairs)
        special = self.tokenizer.num_special_tokens_to_add(pair=split.has_pairs)
        cutting = Cutting(Reach.of(data, special), data.truncation)
        sampler = None if view.subword is None else Segmenter.of(self.backend, view.subword)
        wording = Wording(self.texts, view, seed, epoch, self.translations if view.translated else None)

        def encode(chunk: pa.RecordBatch, first: int) -> list[Any]:
            return _encoded(wording.of(chunk, first), first, wording, self.backend, sampler)

        def write(folder: Path) -> None:
            write_store(folder, split, cutting, uses_types, encode, lambda done: None)

        identity = identity_of(self.tokenizer, self.backend, data, uses_types) + text_hash(split)
        said = json.dumps([asdict(view), seed, epoch]).encode() + wording.identity
        key = hashlib.sha256(identity + said).hexdigest()[:40]
        folder, _ = open_or_build(self.cache / "tokens", key, write, on_warning=self.on_warning)
        return open_store(folder, split, self.texts, cutting.reach)

    @cached_property
    def translations(self) -> Translations:
        """Of the training texts."""
        table = self.texts.splits["train"].table
        return translations_in(table, [*self.texts.source_languages, *self.recipe.data.translations])


@dataclass(frozen=True)
class Wording:
    """The words of the training texts in one view of one epoch, before they are cut into pieces."""

    texts: TextData
    view: View
    seed: int
    epoch: int
    translations: Translations | None = None
    """Where a text may be one of its translations."""

    @property
    def identity(self) -> bytes:
        """What it depends on besides the texts, the view, seed and epoch."""
        dictionary = self.texts.dictionary if self.view.switched else None
        paraphrases = self.texts.paraphrases if self.view.paraphrased else None
        languages = self.texts.splits["train"].table["language"]
        return b"".join([
            b"-" if dictionary is None else strings_hash(strings_of(languages)) + dictionary.digest,
            b"-" if paraphrases is None else paraphrases_hash(paraphrases),
            b"-" if self.translations is None else self.translations.digest,
        ])  # fmt: skip

    def drawing(self, row: int, stream: int, *purpose: int) -> np.random.Generator:
        """Chance for one text and purpose: a function of (seed, epoch, row) alone."""
        return np.random.default_rng([self.seed, stream, self.epoch, row, *purpose])

    def of(self, chunk: pa.RecordBatch, first: int) -> list[Any]:
        """The texts (or pairs) of the chunk whose first text is row `first` of the split."""
        rows = list(range(first, first + chunk.num_rows))
        places, languages = rows, chunk.column("language").to_pylist()
        if self.translations is not None:
            places = [self.translations.drawn(row, self.drawing(row, SECOND, TRANSLATION)) for row in rows]
            chunk = self.texts.splits["train"].table.take(places).combine_chunks().to_batches()[0]
            languages = chunk.column("language").to_pylist()
        return [
            self._reworded(text, row, place, language)
            for text, row, place, language in zip(inputs_of(chunk), rows, places, languages, strict=True)
        ]

    def _reworded(self, text: Any, row: int, place: int, language: str) -> Any:
        if self.view.paraphrased:
            text = self._paraphrase(text, row, place)
        draw = self.drawing(row, STREAM)
        switch = self.drawing(row, self.view.switch_stream, SWITCH) if self.view.switched else None
        parts = []
        for part in text if isinstance(text, tuple) else (text,):
            if switch is not None and self.texts.dictionary is not None:
                part = self.texts.dictionary.switched(part, language, self.view.switched, switch)
            parts.append(changed_words(part, self.view, draw))
        return tuple(parts) if len(parts) > 1 else parts[0]

    def _paraphrase(self, text: Any, row: int, place: int) -> Any:
        """The text or one of those that say it once more, each as likely."""
        paraphrases = self.texts.paraphrases
        if paraphrases is None or place >= len(paraphrases):  # texts without labels, joined below those that have some
            return text
        others = paraphrases[place].as_py()
        at = int(self.drawing(row, STREAM, PARAPHRASE).integers(len(others) + 1)) if others else 0
        return text if at == 0 else others[at - 1]


def _encoded(texts: list[Any], first: int, wording: Wording, backend: Any, sampler: Segmenter | None) -> list[Any]:
    """Encodings of these texts, the first of which is row `first`."""
    encodings = backend.encode_batch_fast(texts)
    if sampler is None:
        return list(encodings)
    pieces = [wording.drawing(first + at, wording.view.stream, PIECES) for at in range(len(texts))]
    return [
        sampler.drawn(text if isinstance(text, tuple) else (text,), encoding, draw)
        for text, encoding, draw in zip(texts, encodings, pieces, strict=True)
    ]


def changed_words(text: str, spec: View | schema.Augment, draw: np.random.Generator) -> str:
    """Words (between spaces) left out and swapped (Wei & Zou 2019, arXiv:1901.11196); one word at least stays."""
    words = text.split()
    if spec.word_dropout and len(words) > 1:
        stays = draw.random(len(words)) >= spec.word_dropout
        stays[int(draw.integers(len(words)))] |= not stays.any()
        words = [word for word, kept in zip(words, stays, strict=True) if kept]
    if spec.word_swap and len(words) > 1:
        for _ in range(math.ceil(spec.word_swap * len(words))):
            one, other = draw.choice(len(words), 2, replace=False)
            words[one], words[other] = words[other], words[one]
    return " ".join(words) if spec.word_dropout or spec.word_swap else text


@dataclass(frozen=True)
class Segmented:
    """What stands for a `tokenizers.Encoding` whose pieces were drawn."""

    ids: list[int]
    type_ids: list[int]
    sequence_ids: list[int | None]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Lattice:
    """All ways to cut a word into pieces of the vocabulary."""

    edges: Sequence[Sequence[tuple[int, int]]]
    """By the place where a piece ends: (where it begins, its id)."""
    chances: Sequence[np.ndarray]
    """Beside each of them, how probable it is given that a piece ends there; they add up to 1."""

    def drawn(self, draw: np.random.Generator) -> list[int]:
        """Ids from left to right, drawn from right to left."""
        place, found = len(self.edges) - 1, []
        while place:
            picked = int(np.searchsorted(np.cumsum(self.chances[place]), draw.random(), side="right"))
            place, piece = self.edges[place][min(picked, len(self.edges[place]) - 1)]
            found.append(piece)
        return found[::-1]


@dataclass(frozen=True)
class Segmenter:
    """Draws segmentations of words with a probability that is that of the Unigram model, to the power of alpha (Kudo
    2018, arXiv:1804.10959, section 3.3 with l = infinity): forward sums, then pieces from the last to the first.

    The tokenizers library samples too, but from a generator that nobody can seed.
    """

    backend: Any
    alpha: float
    pieces: dict[str, tuple[int, float]]
    """Piece -> id and log probability."""
    longest: int
    lattice: Callable[[str], Lattice | None]
    """Of a word; None where it can't be cut into pieces that the vocabulary has."""

    @classmethod
    def of(cls, backend: Any, alpha: float) -> Segmenter:
        """Of a tokenizer.

        Raises:
            UserError: it is no Unigram model.
        """
        model = json.loads(backend.to_str())["model"]
        if model["type"] != "Unigram":
            raise UserError(
                f"data.augment.subword with a {model['type']} tokenizer",
                where="data.augment.subword",
                expected="a Unigram (SentencePiece) tokenizer, as XLM-R's and e5's",
                remedy="Leave it out, or take data.augment.word_dropout",
            )
        special = {token.content for token in backend.get_added_tokens_decoder().values()}
        pieces = {piece: (at, score) for at, (piece, score) in enumerate(model["vocab"]) if piece not in special}
        longest = max(map(len, pieces))
        lattice = lru_cache(REMEMBERED)(lambda word: lattice_of(word, pieces, longest, alpha))
        return cls(backend, alpha, pieces, longest, lattice)

    def drawn(self, texts: Sequence[str], encoding: Any, draw: np.random.Generator) -> Segmented:
        """The encoding of a text (or pair), the pieces of its words drawn anew and special tokens where they were."""
        owners = encoding.sequence_ids
        ids: list[int] = []
        kinds: list[int] = []
        kept: list[int | None] = []
        done: set[int] = set()
        for place, owner in enumerate(owners):
            if owner is None:
                ids.append(encoding.ids[place])
                kinds.append(encoding.type_ids[place])
                kept.append(None)
            elif owner not in done:
                done.add(owner)
                found = self.pieces_of(texts[owner], draw)
                ids += found
                kinds += [encoding.type_ids[place]] * len(found)
                kept += [owner] * len(found)
        return Segmented(ids, kinds, kept)

    def pieces_of(self, text: str, draw: np.random.Generator) -> list[int]:
        """Ids of one text, without special tokens."""
        normalizer = self.backend.normalizer
        normal = text if normalizer is None else normalizer.normalize_str(text)
        found: list[int] = []
        for word, _ in self.backend.pre_tokenizer.pre_tokenize_str(normal):
            lattice = self.lattice(word)
            if lattice is None:  # with characters that the vocabulary lacks: as the tokenizer cuts it
                found += [token.id for token in self.backend.model.tokenize(word)]
            else:
                found += lattice.drawn(draw)
        return found


def lattice_of(word: str, pieces: dict[str, tuple[int, float]], longest: int, alpha: float) -> Lattice | None:
    """The ways to cut a word, and how probable each piece is given where it ends; None where there is none."""
    totals = [0.0]
    """By place: the logarithm of the sum over all ways to cut what lies before it."""
    edges: list[list[tuple[int, int]]] = [[]]
    chances: list[np.ndarray] = [np.zeros(0)]
    for end in range(1, len(word) + 1):
        ways = [(start, *pieces[word[start:end]]) for start in range(max(0, end - longest), end)
                if word[start:end] in pieces and totals[start] > -math.inf]  # fmt: skip
        scores = np.array([totals[start] + alpha * score for start, _, score in ways])
        if not ways:
            totals.append(-math.inf)
            edges.append([])
            chances.append(np.zeros(0))
            continue
        top = float(scores.max())
        weights = np.exp(scores - top)
        totals.append(top + math.log(float(weights.sum())))
        edges.append([(start, piece) for start, piece, _ in ways])
        chances.append(weights / weights.sum())
    return Lattice(edges, chances) if totals[-1] > -math.inf else None
