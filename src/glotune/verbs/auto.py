"""`glotune train auto`: reads the texts, looks at the machine, and lets the table choose (`glotune.recipe.auto`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import pyarrow.compute as pc
import torch

from glotune.data.given_rows import GivenRows
from glotune.data.streams import refuse_streams
from glotune.data.texts import LabelledTexts, TextData
from glotune.engine.plan import choose_device
from glotune.engine.probe import free_memory
from glotune.model.loading import load_config
from glotune.recipe import Recipe
from glotune.recipe.auto import Draft, Facts, choose
from glotune.recipe.loading import Overrides
from glotune.run.records import Choice

LONG = 500
"""Characters that are roughly 128 tokens."""
GIB = 2**30


@dataclass(frozen=True)
class AutoRecipe:
    """What was chosen, by which texts."""

    recipe: Recipe
    texts: TextData
    """As the recipe reads them: nothing that is chosen changes which texts there are."""
    choices: list[Choice]


def choose_recipe(given: GivenRows, *overrides: Overrides) -> AutoRecipe:
    """Chooses what the user did not give.

    Raises:
        UserError: keys that make no recipe, texts that can't be read, or an encoder whose configuration can't be had.
    """
    draft = Draft.of(given.keys, *overrides)
    begun = draft.opening()
    refuse_streams(begun.data, "glotune train auto")
    texts = given.read(begun)

    @cache  # several keys depend on it, and a Hub is asked each time
    def width(encoder: str) -> int:
        return int(load_config(begun.model.model_copy(update={"name": encoder})).hidden_size)

    recipe, chosen = choose(draft, facts_of(texts, begun), width)
    return AutoRecipe(recipe, texts, [Choice(**asdict(each)) for each in chosen])


def facts_of(texts: TextData, recipe: Recipe) -> Facts:
    """What the table asks about."""
    train = texts.splits["train"]
    judged = {language for name, split in texts.splits.items() if name != "train" for language in split.language_names}
    device = choose_device(recipe.train.device)
    trained = train.rows_by_language()
    sources = [rows for language, rows in trained.items() if language in texts.source_languages]
    return Facts(
        task=recipe.task,
        device="cpu" if device == "cpu" else "gpu",
        memory_gib=free_memory(torch.device("cpu" if device == "tpu" else device)) / GIB,
        rows=len(train),
        balance=_balance(train, texts) if recipe.task == "single_label" else None,
        targets=len(judged - set(trained)),
        source_ratio=max(sources) / min(sources),
        long_share=_long_share(train),
        pairs=train.has_pairs,
        max_length=recipe.data.max_length,
        truncation=recipe.data.truncation,
        frozen_layers=recipe.model.freeze.layers,
    )


def _balance(train: LabelledTexts, texts: TextData) -> float:
    counts = np.bincount(train.labels, minlength=len(texts.labels))
    return float(counts.min() * len(counts) / max(1, counts.sum()))


def _long_share(train: LabelledTexts) -> float:
    longer = sum(int(pc.sum(pc.greater(pc.utf8_length(chunk), LONG)).as_py() or 0)
                 for chunk in train.table["text"].chunks)  # fmt: skip
    return longer / max(1, len(train))


def choice_lines(choices: Sequence[Choice]) -> list[str]:
    """A line for each choice, for logs."""
    return [f"auto: {choice.told}" for choice in choices]
