"""What the texts of a run are like, per split and language: the content of ``data_profile.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from glotune.data.checks import conflicting, leaked, repeated
from glotune.data.texts import LabelledTexts, TextData
from glotune.data.tokenization import TokenStore
from glotune.recipe.settings import TokenSettings

SCHEMA = 1
LISTED = 10_000
"""Most skipped rows to list; all are counted."""
TOGETHER = 1 << 16
"""Texts whose tokens are looked at together."""


def profile(texts: TextData, stores: Mapping[str, TokenStore], tokenizer: Any, data: TokenSettings) -> dict[str, Any]:
    """The profile of everything that a run reads.

    Returns:
        ``splits``: split -> language -> rows, ``label_counts``, lengths in characters, words and tokens, truncation,
        ``fertility`` (tokens without special ones per blank-separated word), ``unknown_token_rate``, duplicates;
        ``leaked``: split -> language -> rows whose text stands in an earlier split too (test: in training or
        validation; validation: in training), by which metrics can be given without them; ``leaked_files``, where a
        split of a language has several files: the SHA-256 of the file of each of these rows; ``shared_texts``: distinct
        texts in two or more splits per language; ``skipped``: rows that could not be used, with the reason;
        ``translated_words``, with code-switching: source language -> share of its words that have a translation.
    """
    return {
        "schema": SCHEMA,
        "data_hash": texts.data_hash,
        "labels": texts.labels,
        "source_languages": texts.source_languages,
        "max_length": data.max_length,
        "splits": {
            name: _merged(
                split_profile(split, texts.labels, texts.targets), token_profile(split, stores[name], tokenizer)
            )
            for name, split in texts.splits.items()
        },
        "leaked": {name: leaked_rows(texts, name) for name in ("validation", "test") if name in texts.splits},
        **_files_of_leaked(texts),
        "shared_texts": shared_texts(texts),
        "skipped": {
            "count": len(texts.skipped),
            "by_reason": dict(Counter(row.reason for row in texts.skipped)),
            "rows": [{"path": row.path, "row": row.row, "reason": row.reason} for row in texts.skipped[:LISTED]],
        },
        "warnings": texts.warnings,
        **({} if texts.dictionary is None else {"translated_words": dict(texts.dictionary.known)}),
    }


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {language: {**entry, **second[language]} for language, entry in first.items()}


def split_profile(
    split: LabelledTexts, labels: list[str], targets: np.ndarray | None = None
) -> dict[str, dict[str, Any]]:
    """Per language what needs no tokenizer: rows, labels, characters, words, duplicates."""
    again, torn = repeated(split.first_rows), conflicting(split.first_rows, split.labels)
    characters = _lengths(split, pc.utf8_length)
    words = word_counts(split)
    found: dict[str, Any] = {}
    for language, mask in _by_language(split):
        found[language] = {
            "rows": int(np.count_nonzero(mask)),
            "label_counts": label_counts(split.labels[mask], labels, targets),
            "characters": spread(characters, mask),
            "words": spread(words, mask),
            "duplicate_rows": int(np.count_nonzero(again & mask)),
            "conflicting_rows": int(np.count_nonzero(torn & mask)),
        }
    return found


def label_counts(labels_N: np.ndarray, labels: list[str], targets: np.ndarray | None = None) -> dict[str, int]:
    """Label -> rows that have it; of labels of their own those to which it applies, of scores those that have one.

    Labels of which nothing is annotated here are left out.
    """
    if targets is None:
        return dict(zip(labels, np.bincount(labels_N, minlength=len(labels)).tolist(), strict=True))
    rows_NL = targets[labels_N]
    is_there_NL = ~np.isnan(rows_NL)
    are_labels = np.isin(targets[~np.isnan(targets)], (0.0, 1.0)).all()
    counts_L = (rows_NL == 1.0).sum(axis=0) if are_labels else is_there_NL.sum(axis=0)
    known = is_there_NL.any(axis=0)
    return {name: int(counts_L[place]) for place, name in enumerate(labels) if known[place]}


def token_profile(split: LabelledTexts, store: TokenStore, tokenizer: Any) -> dict[str, dict[str, Any]]:
    """Per language what the tokenizer makes of the texts; fertility is None where there is no word."""
    special = tokenizer.num_special_tokens_to_add(pair=split.has_pairs)
    names = split.language_names

    def per_language(values: np.ndarray) -> list[int]:
        return [int(values[split.language_ids == code].sum()) for code in range(len(names))]

    left_out = store.left_out
    raw, kept, words = (per_language(values) for values in (store.raw_lengths, store.lengths, word_counts(split)))
    cut = per_language(left_out)
    unknown = per_language(unknown_counts(store, tokenizer.unk_token_id))
    truncated = per_language(left_out > 0)
    found: dict[str, Any] = {}
    for code, (language, mask) in enumerate(_by_language(split)):
        rows = int(np.count_nonzero(mask))
        found[language] = {
            "tokens": spread(store.raw_lengths, mask),
            "truncated_rows": truncated[code],
            "truncation_rate": truncated[code] / rows,
            "tokens_cut_rate": cut[code] / raw[code],
            "fertility": (raw[code] - special * rows) / words[code] if words[code] else None,
            "unknown_token_rate": unknown[code] / kept[code],
        }
    return found


def leaked_rows(texts: TextData, split: str) -> dict[str, list[int]]:
    """language -> rows of `split` whose text stands in an earlier split too; languages without any are left out."""
    table, mask = texts.splits[split], leaked(texts.splits, split)
    return {language: table.rows[mask & mine].tolist() for language, mine in _by_language(table) if (mask & mine).any()}


def _files_of_leaked(texts: TextData) -> dict[str, dict[str, dict[str, list[str]]]]:
    """``leaked_files`` of the profile; empty where no row number is that of two files."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in ("validation", "test"):
        if name not in texts.splits:
            continue
        table = texts.splits[name]
        source_N = table.table["source"].to_numpy()
        several = [(language, mine) for language, mine in _by_language(table) if len(np.unique(source_N[mine])) > 1]
        if not several:
            continue
        mask = leaked(texts.splits, name)
        for language, mine in several:
            if (mask & mine).any():
                files = [texts.sources[source].sha256 for source in source_N[mask & mine]]
                found.setdefault(name, {})[language] = files
    return {"leaked_files": found} if found else {}


def shared_texts(texts: TextData) -> dict[str, int]:
    """language -> distinct texts that stand in two or more of its splits; languages without any are left out."""
    holders: dict[str, list[LabelledTexts]] = {}
    for split in texts.splits.values():
        for language in split.language_names:
            holders.setdefault(language, []).append(split)
    several = {language: found for language, found in sorted(holders.items()) if len(found) > 1}
    counted = {
        language: _in_several([split.keys[mask_of(split, language)] for split in found])
        for language, found in several.items()
    }
    return {language: count for language, count in counted.items() if count}


def _in_several(lists: list[np.ndarray]) -> int:
    """How many different keys stand in two or more of the lists."""
    _, held_by = np.unique(np.concatenate([np.unique(keys) for keys in lists]), return_counts=True)
    return int(np.count_nonzero(held_by > 1))


def word_counts(split: LabelledTexts) -> np.ndarray:
    """Blank-separated words per row, pairs counted together, [N] int64."""
    return _lengths(split, lambda texts: pc.count_substring_regex(texts, r"[^\s\p{Z}]+"))


def unknown_counts(store: TokenStore, unknown_id: int | None) -> np.ndarray:
    """Unknown tokens per text, [N] int32."""
    found = np.zeros(len(store), np.int32)
    if unknown_id is None:
        return found
    for start in range(0, len(store), TOGETHER):  # a mark for each token of all texts would not be small
        offsets = store.offsets[start : start + TOGETHER + 1]
        marks = store.tokens[offsets[0] : offsets[-1]] == unknown_id
        found[start : start + TOGETHER] = np.add.reduceat(marks, offsets[:-1] - offsets[0], dtype=np.int32)
    return found


def spread(values: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Mean, median, 95th percentile and maximum of the `values` [N] where `mask` [N] is true."""
    mine = values[mask]
    return {
        "mean": round(float(mine.mean()), 3),
        "median": float(np.median(mine, overwrite_input=True)),
        "p95": float(np.percentile(mine, 95, overwrite_input=True)),
        "max": float(mine.max()),
    }


def _lengths(split: LabelledTexts, measure: Any) -> np.ndarray:
    """The measures of a row's texts added up, [N] int32."""
    found = np.zeros(len(split), np.int32)
    for name in ("text", "text_pair") if split.has_pairs else ("text",):
        done = 0
        for chunk in split.table[name].chunks:
            found[done : done + len(chunk)] += measure(chunk).to_numpy()
            done += len(chunk)
    return found


def _by_language(split: LabelledTexts) -> Iterator[tuple[str, np.ndarray]]:
    """Each language with the mask [N] of its rows, one at a time."""
    for name in split.language_names:
        yield name, mask_of(split, name)


def mask_of(split: LabelledTexts, language: str) -> np.ndarray:
    """Which rows are of this language, [N] bool."""
    return np.asarray(split.language_ids == split.language_names.index(language))
