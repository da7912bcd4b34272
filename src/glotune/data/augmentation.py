"""The training texts as each epoch reads them: words left out or swapped, pieces drawn at random.

Every change is a function of (seed, epoch, row), whatever else was drawn and on whatever machine: a resumed run reads
the same, and so does one cut otherwise. An epoch's texts are tokenized once, into a store of their own, before the
vocabulary is trimmed. Validation and test texts are never touched.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from glotune.data.cache import open_or_build
from glotune.data.texts import TextData, text_hash
from glotune.data.tokenization import (
    Cutting,
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
from glotune.data.unicode_form import normalising
from glotune.data.windows import Reach
from glotune.errors import UserError
from glotune.recipe import schema

STREAM, SECOND = 4, 5
"""Of the texts as an epoch reads them, and of their second view; apart from those of initialisation and training."""
PIECES = 1
"""Words and pieces are drawn apart, so that a second view has the same words."""
REMEMBERED = 1 << 16
"""Distinct words whose segmentations are kept."""


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
    own, second = recipe.data.augment, recipe.second_view
    if own is None and second is None:
        return stores
    made: list[TokenStore] = []
    plain = stores["train"]
    augmenting = Augmenting(texts, tokenizer, recipe, cache, on_warning)
    with untruncated(augmenting.backend), normalising(augmenting.backend, recipe.data.normalization):
        for epoch in range(recipe.train.epochs):
            first = plain if own is None else augmenting.store(own, STREAM, epoch)
            # A second view of what the first one reads: the same words, their pieces drawn anew.
            again = None if second is None else (own or second).model_copy(update={"subword": second.subword})
            made.append(replace(first, twin=None if again is None else augmenting.store(again, SECOND, epoch)))
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

    def store(self, spec: schema.Augment, stream: int, epoch: int) -> TokenStore:
        """The training texts as an epoch reads them; kept like all tokens, by what they depend on."""
        data, seed, split = self.recipe.data, self.recipe.seed, self.texts.splits["train"]
        uses_types = has_types(self.tokenizer, split.has_pairs)
        special = self.tokenizer.num_special_tokens_to_add(pair=split.has_pairs)
        cutting = Cutting(Reach.of(data, special), data.truncation)
        sampler = None if spec.subword is None else Segmenter.of(self.backend, spec.subword)

        def encode(chunk: pa.RecordBatch, first: int) -> list[Any]:
            return _augmented(chunk, first, (seed, epoch), stream, spec, self.backend, sampler)

        def write(folder: Path) -> None:
            write_store(folder, split, cutting, uses_types, encode, lambda done: None)

        identity = identity_of(self.tokenizer, self.backend, data, uses_types) + text_hash(split)
        said = json.dumps([spec.model_dump(), stream, seed, epoch]).encode()
        key = hashlib.sha256(identity + said).hexdigest()[:40]
        folder, _ = open_or_build(self.cache / "tokens", key, write, on_warning=self.on_warning)
        return open_store(folder, split, self.texts, cutting.reach)


def _augmented(
    chunk: pa.RecordBatch,
    first: int,
    drawn_by: tuple[int, int],
    stream: int,
    spec: schema.Augment,
    backend: Any,
    sampler: Segmenter | None,
) -> list[Any]:
    """Encodings of the chunk whose first text is row `first` of the split; words change by (seed, epoch) and row."""
    seed, epoch = drawn_by
    drawing = [np.random.default_rng([seed, STREAM, epoch, first + row]) for row in range(chunk.num_rows)]
    changed: list[Any] = []
    for text, draw in zip(inputs_of(chunk), drawing, strict=True):
        parts = tuple(changed_words(part, spec, draw) for part in (text if isinstance(text, tuple) else (text,)))
        changed.append(parts if len(parts) > 1 else parts[0])
    encodings = backend.encode_batch_fast(changed)
    if sampler is None:
        return list(encodings)
    pieces = [np.random.default_rng([seed, stream, epoch, first + row, PIECES]) for row in range(chunk.num_rows)]
    return [
        sampler.drawn(text if isinstance(text, tuple) else (text,), encoding, draw)
        for text, encoding, draw in zip(changed, encodings, pieces, strict=True)
    ]


def changed_words(text: str, spec: schema.Augment, draw: np.random.Generator) -> str:
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
