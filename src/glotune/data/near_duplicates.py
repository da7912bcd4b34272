"""Texts that are almost the same: MinHash over character 5-grams (Broder 1997), candidates checked exactly.

Texts are compared without case, digits, punctuation and blanks, so that a changed handle, number or link is no
difference. Memory is 4 bytes per hash and text, plus the shingles of the candidates.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

WIDTH = 5
HASHES = 64
BANDS = 16
"""16 bands of 4 hashes: a pair of Jaccard similarity 0.8 becomes a candidate with probability 0.9998, 0.5 with 0.64."""
_PRIME = (1 << 31) - 1

Shingles = np.ndarray


def near_duplicate_groups(texts: Sequence[str], *, similarity: float = 0.8) -> np.ndarray:
    """Groups of near-equal texts: the position of the first text of each text's group, [N] int64.

    A text joins the earliest text of a band's bucket whose Jaccard similarity over 5-grams is at least
    `similarity`; a text without any letters stands alone, as does one shorter than 5 letters unless it is equal.

    Args:
        texts: the texts.
        similarity: 0 to 1; 1 finds texts equal but for case, digits, punctuation and blanks.
    """
    shingles = [shingles_of(skeleton(text)) for text in texts]
    parents = np.arange(len(texts))
    for bucket in _buckets(_signatures(shingles)):
        _join(bucket, shingles, parents, similarity)
    return np.array([_root(parents, index) for index in range(len(texts))], np.int64)


def near_copies(known: Sequence[str], texts: Sequence[str], *, similarity: float = 0.8) -> np.ndarray:
    """Which of `texts` are near-equal to one of `known`, as `near_duplicate_groups` measures it, [N] bool."""
    theirs, ours = ([shingles_of(skeleton(text)) for text in each] for each in (known, texts))
    found = np.zeros(len(texts), bool)
    for bucket in _buckets(_signatures([*theirs, *ours])):
        there = [theirs[index] for index in bucket.tolist() if index < len(theirs)]
        for index in bucket[bucket >= len(theirs)].tolist() if there else []:
            own = index - len(theirs)
            found[own] = found[own] or any(jaccard(each, ours[own]) >= similarity for each in there)
    return found


def skeleton(text: str) -> str:
    """The letters and marks of a text (NFKC, case-folded), nothing else."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if unicodedata.category(character)[0] in "LM")


def shingles_of(letters: str) -> Shingles:
    """Distinct hashes of all runs of 5 characters (of the whole, where it is shorter), sorted; empty for no letter."""
    codes = np.frombuffer(letters.encode("utf-32-le"), "<u4").astype(np.uint64)
    if not len(codes):
        return codes
    if len(codes) < WIDTH:
        codes = np.concatenate([codes, np.zeros(WIDTH - len(codes), np.uint64)])
    hashes = np.zeros(len(codes) - WIDTH + 1, np.uint64)
    for offset in range(WIDTH):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + codes[offset : offset + len(hashes)]
        hashes ^= hashes >> np.uint64(29)
    return np.unique(hashes)


def jaccard(first: Shingles, second: Shingles) -> float:
    """Shared over all distinct shingles of two texts."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / max(len(first) + len(second) - shared, 1)


def _signatures(shingles: list[Shingles]) -> np.ndarray:
    """The smallest value of each of 64 random hashes over a text's shingles, [N, 64] uint32; all ones where none."""
    rng = np.random.default_rng(0)
    factors = rng.integers(1, _PRIME, (HASHES, 1), np.uint64)
    terms = rng.integers(0, _PRIME, (HASHES, 1), np.uint64)
    signatures = np.full((len(shingles), HASHES), 0xFFFFFFFF, np.uint32)
    for index, values in enumerate(shingles):
        if len(values):
            short = (values % np.uint64(_PRIME))[None, :]
            signatures[index] = ((short * factors + terms) % np.uint64(_PRIME)).min(axis=1)
    return signatures


def _buckets(signatures: np.ndarray) -> Iterator[np.ndarray]:
    """Positions that agree in a whole band, two or more at a time, in order."""
    rows = HASHES // BANDS
    letters = signatures[:, 0] != 0xFFFFFFFF
    for band in range(BANDS):
        part = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows])
        keys = part.view([("", part.dtype)] * rows).ravel()
        order = np.argsort(keys, kind="stable")
        edges = np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1
        for bucket in np.split(order, edges):
            if len(bucket) > 1 and letters[bucket[0]]:
                yield bucket


def _join(bucket: np.ndarray, shingles: list[Shingles], parents: np.ndarray, similarity: float) -> None:
    """Joins each text of a bucket to the first of its distinct groups that it is near to."""
    leaders: list[int] = []
    for index in bucket.tolist():
        root = _root(parents, index)
        if root in leaders:
            continue
        near = next((leader for leader in leaders if jaccard(shingles[leader], shingles[index]) >= similarity), None)
        if near is None:
            leaders.append(root)
        else:
            first, second = sorted((_root(parents, near), root))
            parents[second] = first


def _root(parents: np.ndarray, index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = int(parents[index])
    return index
