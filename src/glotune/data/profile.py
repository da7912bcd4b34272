"""What the texts of a run are like, per split and language: the content of ``data_profile.json``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from glotune.data.checks import conflicting, leaked, repeated
from glotune.data.texts import LabelledTexts, TextData
from glotune.data.tokenization import TokenStore
from glotune.recipe.schema import Data

SCHEMA = 1
LISTED = 10_000
"""Most skipped rows to list; all are counted."""


def profile(texts: TextData, stores: dict[str, TokenStore], tokenizer: Any, data: Data) -> dict[str, Any]:
    """The profile of everything that a run reads.

    Returns:
        ``splits``: split -> language -> rows, ``label_counts``, lengths in characters, words and tokens, truncation,
        ``fertility`` (tokens without special ones per blank-separated word), ``unknown_token_rate``, duplicates;
        ``leaked``: split -> language -> rows whose text stands in an earlier split too (test: in training or
        validation; validation: in training), by which metrics can be given without them; ``shared_texts``: distinct
        texts in two or more splits per language; ``skipped``: rows that could not be used, with the reason.
    """
    return {
        "schema": SCHEMA,
        "data_hash": texts.data_hash,
        "labels": texts.labels,
        "source_languages": texts.source_languages,
        "max_length": data.max_length,
        "splits": {
            name: _merged(split_profile(split, texts.labels), token_profile(split, stores[name], tokenizer))
            for name, split in texts.splits.items()
        },
        "leaked": {name: leaked_rows(texts, name) for name in ("validation", "test") if name in texts.splits},
        "shared_texts": shared_texts(texts),
        "skipped": {
            "count": len(texts.skipped),
            "by_reason": dict(Counter(row.reason for row in texts.skipped)),
            "rows": [{"path": row.path, "row": row.row, "reason": row.reason} for row in texts.skipped[:LISTED]],
        },
        "warnings": texts.warnings,
    }


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {language: {**entry, **second[language]} for language, entry in first.items()}


def split_profile(split: LabelledTexts, labels: list[str]) -> dict[str, dict[str, Any]]:
    """Per language what needs no tokenizer: rows, labels, characters, words, duplicates."""
    again, torn = repeated(split.keys), conflicting(split.keys, split.labels)
    characters = _lengths(split, pc.utf8_length)
    words = word_counts(split)
    found: dict[str, Any] = {}
    for language, mask in _by_language(split):
        counts = np.bincount(split.labels[mask], minlength=len(labels)).tolist()
        found[language] = {
            "rows": int(mask.sum()),
            "label_counts": dict(zip(labels, counts, strict=True)),
            "characters": spread(characters[mask]),
            "words": spread(words[mask]),
            "duplicate_rows": int(again[mask].sum()),
            "conflicting_rows": int(torn[mask].sum()),
        }
    return found


def token_profile(split: LabelledTexts, store: TokenStore, tokenizer: Any) -> dict[str, dict[str, Any]]:
    """Per language what the tokenizer makes of the texts; fertility is None where there is no word."""
    raw, kept = store.raw_lengths.astype(np.int64), store.lengths
    special = tokenizer.num_special_tokens_to_add(pair=split.has_pairs)
    words, unknown = word_counts(split), unknown_counts(store, tokenizer.unk_token_id)
    found: dict[str, Any] = {}
    for language, mask in _by_language(split):
        total_words = int(words[mask].sum())
        content = int(raw[mask].sum()) - special * int(mask.sum())
        found[language] = {
            "tokens": spread(raw[mask]),
            "truncated_rows": int((raw > kept)[mask].sum()),
            "truncation_rate": float((raw > kept)[mask].mean()),
            "tokens_cut_rate": float((raw - kept)[mask].sum() / raw[mask].sum()),
            "fertility": content / total_words if total_words else None,
            "unknown_token_rate": float(unknown[mask].sum() / kept[mask].sum()),
        }
    return found


def leaked_rows(texts: TextData, split: str) -> dict[str, list[int]]:
    """language -> rows of `split` whose text stands in an earlier split too; languages without any are left out."""
    table, mask = texts.splits[split], leaked(texts.splits, split)
    return {language: table.rows[mask & mine].tolist() for language, mine in _by_language(table) if (mask & mine).any()}


def shared_texts(texts: TextData) -> dict[str, int]:
    """language -> distinct texts that stand in two or more of its splits; languages without any are left out."""
    per_language: dict[str, list[np.ndarray]] = {}
    for split in texts.splits.values():
        for language, mask in _by_language(split):
            per_language.setdefault(language, []).append(np.unique(split.keys[mask]))
    found: dict[str, Any] = {}
    for language, keys in sorted(per_language.items()):
        counts = np.unique(np.concatenate(keys), return_counts=True)[1]
        found |= {language: int((counts > 1).sum())} if (counts > 1).any() else {}
    return found


def word_counts(split: LabelledTexts) -> np.ndarray:
    """Blank-separated words per row, pairs counted together, [N] int64."""
    return _lengths(split, lambda texts: pc.count_substring_regex(texts, r"[^\s\p{Z}]+"))


def unknown_counts(store: TokenStore, unknown_id: int | None, chunk: int = 100_000) -> np.ndarray:
    """Unknown tokens per text, [N] int64; memory stays that of `chunk` texts."""
    if unknown_id is None or not len(store.tokens):
        return np.zeros(len(store), np.int64)
    parts = []
    for start in range(0, len(store), chunk):
        offsets = store.offsets[start : start + chunk + 1]
        marks = (store.tokens[offsets[0] : offsets[-1]] == unknown_id).astype(np.int32)
        parts.append(np.add.reduceat(marks, offsets[:-1] - offsets[0]))
    return np.concatenate(parts).astype(np.int64)


def spread(values: np.ndarray) -> dict[str, float]:
    """Mean, median, 95th percentile and maximum."""
    return {
        "mean": round(float(values.mean()), 3),
        "median": float(np.median(values)),
        "p95": float(np.percentile(values, 95)),
        "max": float(values.max()),
    }


def _lengths(split: LabelledTexts, measure: Any) -> np.ndarray:
    columns = ["text", "text_pair"] if split.has_pairs else ["text"]
    return sum((_numpy(measure(split.table[name])) for name in columns), np.zeros(len(split), np.int64))


def _numpy(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(np.int64)


def _by_language(split: LabelledTexts) -> list[tuple[str, np.ndarray]]:
    ids = split.language_ids
    return [(name, ids == index) for index, name in enumerate(split.language_names)]
