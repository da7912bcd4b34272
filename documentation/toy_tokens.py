"""The quickstart's texts as the run tokenizes them: what the pictures of packing and trimming are drawn from."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glotune.data.tokenization import TokenStore
from glotune.recipe import Recipe


@dataclass(frozen=True)
class ToyTokens:
    """The resolved recipe, and its token stores by split."""

    recipe: Recipe
    stores: dict[str, TokenStore]
    special_ids: list[int]
    folder: tempfile.TemporaryDirectory[str]
    """Holds the memory-mapped stores, and goes with this object."""

    @property
    def used_ids(self) -> NDArray[np.int64]:
        """Token ids of all splits and the special ones, sorted, each once: what trimming keeps."""
        tokens = [np.asarray(store.tokens, dtype=np.int64) for store in self.stores.values()]
        return np.unique(np.concatenate([*tokens, np.array(self.special_ids, dtype=np.int64)]))


@cache
def toy_tokens() -> ToyTokens:
    """Reads and tokenizes the quickstart's texts, in a cache of their own."""
    from glotune.data.reading import read_texts
    from glotune.data.tokenization import tokenize
    from glotune.model.loading import load_tokenizer
    from glotune.recipe import load_recipe

    recipe = load_recipe("quickstart")
    tokenizer = load_tokenizer(recipe.model)
    texts = read_texts(recipe.data, recipe.seed)
    folder = tempfile.TemporaryDirectory(prefix="glotune-pictures-")
    stores = tokenize(texts, tokenizer, recipe.data, Path(folder.name))
    return ToyTokens(recipe, stores, tokenizer.all_special_ids, folder)
