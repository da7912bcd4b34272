"""The token stores of a pretraining run: texts and translations, each text once, on one memory map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from glotune.data.held_out import text_keys
from glotune.data.plain_text import PlainTexts
from glotune.data.texts import LANGUAGE_TYPE, LabelledTexts, TextData
from glotune.data.tokenization import TokenStore, tokenize
from glotune.recipe.settings import TokenSettings


@dataclass(frozen=True)
class Corpus:
    """N items to train on: P pairs first, then plain texts. The translation of item i < P is text N + i."""

    items: int
    """N"""
    texts: TokenStore
    """[N + P] texts: the items, then the translations."""
    pairs: int
    """P"""
    translation_keys: NDArray[np.int64]
    """[P] hashes of the translations: pairs with one translation are no wrong answers to each other."""
    held_out: TokenStore
    """Texts to judge by: Q pairs' texts, plain texts, then the Q translations."""
    held_pairs: int
    """Q"""

    def texts_of(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """The texts of these items: their own, then the translations of those that are pairs."""
        paired = items[items < self.pairs]
        return np.concatenate([items, paired + self.items])

    def items_of(self, texts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The items that these texts are, or that they translate."""
        return np.where(texts < self.items, texts, texts - self.items)


def as_text_data(texts: PlainTexts) -> TextData:
    """The texts as the engine's readers know them: splits ``train`` and ``validation``, one label for all."""
    train = _flat(texts.pairs, texts.texts, texts.pair_language, "train")
    held = _flat(texts.held_pairs, texts.held_texts, texts.pair_language, "validation")
    return TextData(
        splits={"train": train, "validation": held},
        labels=["text"],
        sources=texts.sources,
        source_languages=sorted({*train.language_names, *held.language_names}),
        data_hash=texts.data_hash,
        warnings=texts.warnings,
    )


def build_corpus(
    texts: PlainTexts,
    content: TextData,
    tokenizer: Any,
    data: TokenSettings,
    cache: Path,
    progress: Callable[[int, int], None],
) -> Corpus:
    """Tokenizes everything once.

    Args:
        content: `as_text_data` of `texts`.

    Raises:
        UserError: `max_length` is too short, or a text has no token.
    """
    stores = tokenize(content, tokenizer, data, cache, progress=progress)
    return Corpus(
        items=len(texts.pairs) + len(texts.texts),
        texts=stores["train"],
        pairs=len(texts.pairs),
        translation_keys=text_keys(texts.pairs["text_pair"]),
        held_out=stores["validation"],
        held_pairs=len(texts.held_pairs),
    )


def _flat(pairs: pa.Table, texts: pa.Table, pair_language: str, split: str) -> LabelledTexts:
    """All texts below each other: the pairs' texts, the plain texts, the translations."""
    columns = [*pairs["text"].chunks, *texts["text"].chunks, *pairs["text_pair"].chunks]
    content = pa.chunked_array(columns, pa.string())
    languages = [*pairs["language"].to_pylist(), *texts["language"].to_pylist(), *[pair_language] * len(pairs)]
    count = len(content)
    table = pa.table(
        {
            "text": content,
            "label": pa.array(np.zeros(count, np.int16)),
            "language": pa.array(languages, pa.string()).dictionary_encode().cast(LANGUAGE_TYPE),
            "row": pa.array(np.arange(1, count + 1, dtype=np.int32)),
            "source": pa.array(np.zeros(count, np.int16)),
            "key": pa.array(text_keys(content)),
        }
    )
    return LabelledTexts(table, split)
