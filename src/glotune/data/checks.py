"""Cheap checks on what was read: texts in two splits, duplicates, conflicting labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow.compute as pc

from glotune.data.texts import LabelledTexts
from glotune.errors import UserError

LONGEST_NAME = 64
"""Characters of a language's name."""
_EARLIER = {"validation": ("train",), "test": ("train", "validation")}
"""The splits that a model has learned from, or was chosen by, before it is judged on one."""


def refuse_unfit_languages(names: Iterable[Any]) -> None:
    """Languages become parts of file names: one that is no plain name is refused before anything is trained.

    Raises:
        UserError: names the first one.
    """
    for name in names:
        if not isinstance(name, str):
            raise UserError(
                f"the language {name!r} is of the type {type(name).__name__}",
                expected="a code or name as a string, e.g. 'en'",
            )
        if not name.isprintable() or name.startswith(".") or set(name) & set("/\\") or len(name) > LONGEST_NAME:
            raise UserError(
                f"the language '{name[:LONGEST_NAME]}' can't be part of a file name",
                expected=f"a code or name without slashes and control characters, up to {LONGEST_NAME} characters",
                remedy="Mend the recipe's keys under data, or the language column",
            )


def leaked(splits: dict[str, LabelledTexts], split: str = "test") -> np.ndarray:
    """Which rows of `split` have a text that stands in an earlier split too, [N] bool.

    For test rows that is training or validation, for validation rows training; equal means equal after
    normalisation, in any language.
    """
    others = [splits[name].keys for name in _EARLIER[split] if name in splits]
    return np.isin(splits[split].keys, np.concatenate(others)) if others else np.zeros(len(splits[split]), bool)


def akin(splits: dict[str, LabelledTexts], split: str) -> np.ndarray:
    """Which rows of `split` have the id (``data.columns.id``) of a row of an earlier split, [N] bool."""
    found = np.zeros(len(splits[split]), bool)
    if "id" in splits[split].table.column_names:
        for name in _EARLIER[split]:
            if name in splits:
                ids = pc.unique(splits[name].table["id"]).drop_null()
                found |= np.asarray(pc.is_in(splits[split].table["id"], ids))
    return found


def repeated(first: np.ndarray) -> np.ndarray:
    """Which rows repeat an earlier one of the same split, [N] bool; `first` is of `texts.first_rows`."""
    return np.asarray(first != np.arange(len(first)))


def conflicting(first: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which rows have a text that stands with another label elsewhere, [N] bool; `first` is of `texts.first_rows`."""
    torn = np.zeros(len(first), bool)
    torn[first[labels != labels[first]]] = True
    return torn[first]


def check_duplicates(splits: dict[str, LabelledTexts]) -> list[str]:
    """Warnings, one per finding, with counts and what it means."""
    warnings = []
    for split in [name for name in _EARLIER if name in splits]:
        earlier = "training" if split == "validation" else "training or validation"
        if (mask := leaked(splits, split)).any():
            warnings.append(
                f"{mask.sum()} of {len(mask)} {split} rows have a text that stands in {earlier} too "
                f"({_by_language(splits[split], mask)}): the report gives the scores with and without them"
            )
        if (mask := akin(splits, split)).any():
            warnings.append(
                f"{mask.sum()} of {len(mask)} {split} rows have the id of a {earlier} row "
                f"({_by_language(splits[split], mask)}): what data.columns.id says belongs together stands on both "
                "sides, and scores may flatter the model"
            )
    if "train" in splits:
        train = splits["train"]
        if (mask := conflicting(train.first_rows, train.labels)).any():
            warnings.append(
                f"{mask.sum()} training rows share their text with a row of another label "
                f"({_by_language(train, mask)}): no model can learn both"
            )
        if (mask := repeated(train.first_rows)).any():
            warnings.append(f"{mask.sum()} training rows repeat an earlier text ({_by_language(train, mask)})")
    return warnings


def _by_language(texts: LabelledTexts, mask: np.ndarray) -> str:
    names = texts.language_names
    counts = np.bincount(texts.language_ids[mask], minlength=len(names))
    return ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True) if count)
