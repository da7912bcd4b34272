"""Texts to tokens without a cache: the same tokens as in training, for texts that are seen once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glotune.data.cutting import Cutting
from glotune.data.tokenization import TokenStore, fast_backend, has_types, untruncated
from glotune.data.unicode_form import put_first
from glotune.data.windows import Reach, Windowing
from glotune.recipe.schema import Data

Text = str | tuple[str, str]
"""A text, or a pair of texts."""


class Tokens(NamedTuple):
    """One text, or pair, as a model reads it."""

    ids: list[int]
    types: list[int]
    raw_length: int
    """Tokens of the whole text, each once."""
    is_cut: bool = False
    """Whether the text is longer than the model reads."""
    is_outside: bool = False
    """Whether the full tokenizer uses a piece here that was cut from the vocabulary."""


@dataclass(frozen=True)
class FullVocabulary:
    """The tokenizer that a smaller one was cut from: it tells which texts the smaller one cuts otherwise."""

    backend: Any
    """The full ``tokenizers.Tokenizer``."""
    places: NDArray[np.int64]
    """[V] its ids -> ids of the smaller one, -1 where the piece was cut."""


@dataclass(frozen=True)
class Encoding:
    """How a model wants its texts: the tokenizer, and the recipe's keys that decide what it sees.

    The tokenizer is made to bring texts to the Unicode form of ``data.normalization``.
    """

    tokenizer: Any
    data: Data
    full: FullVocabulary | None = None
    """Of a vocabulary that was cut for good; None: every text is inside."""

    def __post_init__(self) -> None:
        put_first(fast_backend(self.tokenizer), self.data.normalization)

    @cached_property
    def reach(self) -> Reach:
        """How much of a single text is read."""
        return Reach.of(self.data, self.tokenizer.num_special_tokens_to_add(pair=False))

    def encode(self, texts: Sequence[Text]) -> list[Tokens]:
        """The tokens of N texts or pairs, in their order."""
        found = self._encoded(fast_backend(self.tokenizer), texts)
        if self.full is None:
            return found
        whole = self._encoded(self.full.backend, texts)
        return [
            each._replace(is_outside=not np.array_equal(self.full.places[np.asarray(before.ids, np.int64)], each.ids))
            for each, before in zip(found, whole, strict=True)
        ]

    def store(self, texts: Sequence[Text]) -> TokenStore:
        """The texts as a token store in memory, in their order; labels and rows are zeros.

        Args:
            texts: N texts, or N pairs; never both.
        """
        return self.packed(self.encode(texts), pairs=isinstance(texts[0], tuple))

    def packed(self, texts: Sequence[Tokens], *, pairs: bool) -> TokenStore:
        """The same of texts that are tokenized already."""
        lengths = [len(each.ids) for each in texts]
        zeros = np.zeros(len(texts), np.int16)
        uses_types = has_types(self.tokenizer, pairs)
        raw_lengths = np.asarray([each.raw_length for each in texts], np.int32)
        reach = self.reach
        return TokenStore(
            tokens=np.concatenate([np.asarray(each.ids, np.int32) for each in texts]),
            token_types=np.concatenate([np.asarray(each.types, np.uint8) for each in texts]) if uses_types else None,
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            labels=zeros,
            languages=zeros,
            language_names=["und"],
            rows=zeros.astype(np.int32),
            raw_lengths=raw_lengths,
            windows=None if reach.windows is None else Windowing(reach.counts(raw_lengths), reach),
        )

    def _encoded(self, backend: Any, texts: Sequence[Text]) -> list[Tokens]:
        with untruncated(backend):
            encodings = backend.encode_batch_fast(list(texts))
        cutting, limit = Cutting(self.reach, self.data.truncation), self.data.max_length
        found = []
        for each in encodings:
            ids, types = cutting.cut(each) if len(each) > limit else (each.ids, each.type_ids)
            found.append(Tokens(ids, types, len(each), len(each) > self.reach.tokens))
        return found
