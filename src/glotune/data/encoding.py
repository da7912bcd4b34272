"""Texts to tokens without a cache: the same tokens as in training, for texts that are seen once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from glotune.data.tokenization import TokenStore, cut, fast_backend, has_types, untruncated
from glotune.data.unicode_form import put_first
from glotune.recipe.schema import Data

Text = str | tuple[str, str]
"""A text, or a pair of texts."""


@dataclass(frozen=True)
class Encoding:
    """How a model wants its texts: the tokenizer, and the recipe's keys that decide what it sees.

    The tokenizer is made to bring texts to the Unicode form of ``data.normalization``.
    """

    tokenizer: Any
    data: Data

    def __post_init__(self) -> None:
        put_first(fast_backend(self.tokenizer), self.data.normalization)

    def store(self, texts: Sequence[Text]) -> TokenStore:
        """The texts as a token store in memory, in their order; labels and rows are zeros.

        Args:
            texts: N texts, or N pairs; never both.
        """
        backend = fast_backend(self.tokenizer)
        with untruncated(backend):
            encodings = backend.encode_batch_fast(list(texts))
        ids, types, raw = [], [], []
        limit = self.data.max_length
        for encoding in encodings:
            raw.append(len(encoding))
            if len(encoding) > limit:
                kept, kept_types = cut(encoding, limit, self.data.truncation)
            else:
                kept, kept_types = encoding.ids, encoding.type_ids
            ids.append(kept)
            types.append(kept_types)
        uses_types = has_types(self.tokenizer, isinstance(texts[0], tuple))
        zeros = np.zeros(len(texts), np.int16)
        return TokenStore(
            tokens=np.concatenate([np.asarray(each, np.int32) for each in ids]),
            token_types=np.concatenate([np.asarray(each, np.uint8) for each in types]) if uses_types else None,
            offsets=np.concatenate([[0], np.cumsum([len(each) for each in ids])]).astype(np.int64),
            labels=zeros,
            languages=zeros,
            language_names=["und"],
            rows=zeros.astype(np.int32),
            raw_lengths=np.asarray(raw, np.int32),
        )
