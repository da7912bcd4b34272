"""Which pairs and texts pretraining never sees, so that it can be judged by them."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from glotune.errors import UserError
from glotune.languages import nearest_language
from glotune.recipe.pretrain import HeldOut

PAIRS_TO_SPARE = 10
"""With ``held_out.languages: null`` a language gives pairs away only if it has this many times as many."""
_PAIRS, _TEXTS = 1, 2
"""Streams of chance."""


@dataclass(frozen=True)
class HeldOutSplit:
    """Training and held-out rows of pairs and plain texts."""

    pairs: pa.Table
    texts: pa.Table
    held_pairs: pa.Table
    held_texts: pa.Table
    warnings: list[str] = field(default_factory=list)


def hold_out(pairs: pa.Table, texts: pa.Table, spec: HeldOut, seed: int) -> HeldOutSplit:
    """Draws the held-out rows of each language, and drops training rows that share a text with them.

    Texts are the same that differ only in case, compatibility form or outer blanks; the pairs held out for one
    language have no text twice, on either side, so that each has one right answer.

    Raises:
        UserError: a named language has not twice as many pairs as are to be held out, or nothing is left to judge by.
    """
    keys = {name: text_keys(pairs[name]) for name in ("text", "text_pair")}
    text_side = text_keys(texts["text"])
    held_pairs = _draw_pairs(pairs, keys, spec, seed)
    held_texts = _draw_texts(texts, text_side, spec.texts, seed)
    if not held_pairs.any() and not held_texts.any():
        raise UserError(
            f"nothing can be held out of {len(pairs)} pairs and {len(texts)} texts",
            where="data.held_out",
            expected=f"a language with {PAIRS_TO_SPARE * spec.pairs} pairs, or two different texts of one language",
            remedy="Give more text, or lower data.held_out.pairs",
        )
    held = np.concatenate([keys["text"][held_pairs], keys["text_pair"][held_pairs], text_side[held_texts]])
    shared = np.isin(keys["text"], held) | np.isin(keys["text_pair"], held)
    shared_texts = np.isin(text_side, held)
    split = HeldOutSplit(
        _rows(pairs, ~shared), _rows(texts, ~shared_texts), _rows(pairs, held_pairs), _rows(texts, held_texts)
    )
    dropped = int((shared & ~held_pairs).sum() + (shared_texts & ~held_texts).sum())
    if not len(split.pairs) and not len(split.texts):
        raise UserError("holding out leaves nothing to train on", where="data.held_out", remedy="Give more text")
    if dropped:
        split.warnings.append(f"{dropped} training rows dropped: a text of theirs is held out too")
    return split


def text_keys(column: pa.ChunkedArray) -> np.ndarray:
    """[N] 64-bit hashes: equal for texts that differ only in case, compatibility form (NFKC) or outer blanks."""
    digests = b"".join([_digest(text) for text in column.to_pylist()])
    return np.frombuffer(digests, "<i8")


def _digest(text: str) -> bytes:
    folded = unicodedata.normalize("NFKC", text).casefold().strip()
    return hashlib.blake2b(folded.encode(), digest_size=8).digest()


def _rows(table: pa.Table, mask: np.ndarray) -> pa.Table:
    return table.filter(pa.array(mask)).combine_chunks()


def _draw_pairs(pairs: pa.Table, keys: dict[str, np.ndarray], spec: HeldOut, seed: int) -> np.ndarray:
    languages = np.asarray(pairs["language"].to_pylist(), dtype=object)
    there = sorted(set(languages.tolist()))
    mask = np.zeros(len(pairs), bool)
    if spec.languages is not None and len(pairs):
        _refuse_unknown(spec.languages, there)
    for language in there:
        if spec.languages is not None and language not in spec.languages:
            continue
        own = np.flatnonzero(languages == language)
        if spec.languages is None and len(own) < PAIRS_TO_SPARE * spec.pairs:
            continue
        order = np.random.default_rng([seed, _PAIRS, *language.encode()]).permutation(own)
        chosen = _distinct(order, keys["text"], keys["text_pair"], spec.pairs)
        if len(chosen) < spec.pairs or len(own) < 2 * spec.pairs:
            raise UserError(
                f"'{language}' has {len(own)} pairs, {len(chosen)} of them with different texts",
                where="data.held_out.languages",
                expected=f"at least {2 * spec.pairs} to hold {spec.pairs} out",
                remedy=f"Leave '{language}' out of the list, or lower data.held_out.pairs",
            )
        mask[chosen] = True
    return mask


def _refuse_unknown(named: list[str], there: list[str]) -> None:
    for language in named:
        if language not in there:
            guess = nearest_language(language, there)
            raise UserError(
                f"there are no pairs in '{language}'",
                where="data.held_out.languages",
                expected=f"languages of data.pairs: {', '.join(there[:20])}{', …' if len(there) > 20 else ''}",
                remedy=f"Did you mean '{guess}'?" if guess else None,
            )


def _distinct(order: np.ndarray, left: np.ndarray, right: np.ndarray, wanted: int) -> np.ndarray:
    """The first `wanted` rows of `order` that share no text with an earlier one of them."""
    chosen: list[int] = []
    seen_left: set[int] = set()
    seen_right: set[int] = set()
    for row in order.tolist():
        if len(chosen) == wanted:
            break
        if left[row] not in seen_left and right[row] not in seen_right:
            seen_left.add(left[row])
            seen_right.add(right[row])
            chosen.append(row)
    return np.asarray(chosen, np.int64)


def _draw_texts(texts: pa.Table, keys: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Per language `share` of its different texts, at least one where it has two; all rows of a drawn text."""
    languages = np.asarray(texts["language"].to_pylist(), dtype=object)
    mask = np.zeros(len(texts), bool)
    for language in sorted(set(languages.tolist())):
        own = languages == language
        different = np.unique(keys[own])
        if len(different) < 2 or share == 0.0:
            continue
        rng = np.random.default_rng([seed, _TEXTS, *language.encode()])
        drawn = rng.permutation(different)[: max(1, round(share * len(different)))]
        first = np.unique(keys[own & np.isin(keys, drawn)], return_index=True)[1]
        mask[np.flatnonzero(own & np.isin(keys, drawn))[first]] = True
    return mask
