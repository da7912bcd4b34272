"""Texts that belong together: copies, rows of one key, and the translations of a parallel test set.

What an interval counts is independent texts. A text that stands there four times is one text, and the seventh row of
a parallel test set is one sentence in every language: its translations are hard or easy together. Such texts share a
cluster number, within a language and across languages, and every resampling and every variance takes clusters whole
(Field and Welsh 2007, "Bootstrapping clustered data"; Cameron and Miller 2015 for variances).

Texts belong together where

- they are the same after normalisation (`text_B`);
- they have the same value in the column that ``data.columns.id`` names (`key_B`);
- or, where no such column is named, they stand in the same place of files that are parallel by their look: the same
  rows, up to a constant shift, with the same labels in the same order. Where such files are parallel by accident
  (independent texts, sorted by label), clusters cost a little certainty and claim none.

Shape letters: B texts of a language, N texts of all, G clusters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from glotune.stats.confusion import IntArray

FEWEST_ROWS = 2
"""Files of fewer rows are never called parallel by their look."""
FEWEST_OF_A_LABEL = 10
"""Texts of a label on average, for its successors to show a rule."""
RULED = 0.95
"""Share of labels that the one before tells, from which on an order of labels says nothing about texts."""


@dataclass(frozen=True, eq=False)
class TextKeys:
    """What says which texts of one language belong together; texts in the order of file and row.

    Attributes:
        row_B: row in the source file.
        label_B: class id.
        text_B: int64 hash of the normalised text; None where it is not known.
        key_B: int64 hash of the column ``data.columns.id``; None where none is named.
    """

    row_B: IntArray
    label_B: IntArray
    text_B: IntArray | None = None
    key_B: IntArray | None = None


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which texts of a split belong together.

    Attributes:
        cluster_B: language -> cluster number of each text; empty where every text stands for itself.
        parallel: groups of languages whose texts are taken for translations of one another.
        by_key: whether `parallel` follows from a named column; otherwise from rows and labels.
        repeated: texts beyond the first of each set of equal ones.
        looks: labels of each group that is parallel by its look.
    """

    cluster_B: Mapping[str, IntArray]
    parallel: tuple[tuple[str, ...], ...] = ()
    by_key: bool = False
    repeated: int = 0
    looks: tuple[IntArray, ...] = ()

    @cached_property
    def by_accident(self) -> bool:
        """Whether labels follow a rule, sorted or in turn: such files look parallel whatever they hold, and `parallel`
        is a precaution."""
        return any(map(_follows_a_rule, self.looks))


def find_clusters(languages: Mapping[str, TextKeys]) -> Clusters:
    """The clusters of the texts of one split."""
    sizes = [len(keys.row_B) for keys in languages.values()]
    links, repeated = [], 0
    texts_N = _joined([keys.text_B for keys in languages.values()], sizes)
    if texts_N is not None:
        repeated = len(texts_N) - len(np.unique(texts_N))
        links += [texts_N] if repeated else []
    key_N = _joined([keys.key_B for keys in languages.values()], sizes)
    if key_N is not None:
        parallel = _sharing_keys(languages)
        links += [key_N]
    else:
        parallel, place_N = _parallel_by_look(languages, sizes)
        links += [place_N] if parallel else []
    if not links or not sum(sizes):
        return Clusters({})
    cluster_N = np.unique(links[0], return_inverse=True)[1] if len(links) == 1 else _components(links)
    if int(cluster_N.max()) + 1 == len(cluster_N):
        return Clusters({})
    ends = np.cumsum(sizes)
    return Clusters(
        {name: cluster_N[end - size : end] for name, end, size in zip(languages, ends, sizes, strict=True)},
        parallel,
        key_N is not None,
        repeated,
        () if key_N is not None else tuple(languages[group[0]].label_B for group in parallel),
    )


def own_clusters(text_B: IntArray | None, key_B: IntArray | None) -> IntArray | None:
    """[B] the clusters within one language; None where every text stands for itself.

    Hardly more memory than a copy of the hashes, where all differ: of many texts that is what counts.
    """
    known = [each for each in (text_B, key_B) if each is not None and _has_repeats(each)]
    if not known:
        return None
    return np.unique(known[0], return_inverse=True)[1] if len(known) == 1 else _components(known)


def _has_repeats(values_B: IntArray) -> bool:
    ordered_B = np.sort(values_B)
    return bool((ordered_B[1:] == ordered_B[:-1]).any())


def _joined(keys: Sequence[IntArray | None], sizes: Sequence[int]) -> IntArray | None:
    """[N] the keys of all languages, a number of its own for each text of a language without; None without any."""
    if all(each is None for each in keys):
        return None
    known = np.concatenate([each for each in keys if each is not None])
    codes = np.unique(known, return_inverse=True)[1].astype(np.int64)
    parts, used, own = [], 0, len(codes)
    for each, size in zip(keys, sizes, strict=True):
        if each is None:
            parts.append(np.arange(own, own + size))
            own += size
        else:
            parts.append(codes[used : used + size])
            used += size
    return np.concatenate(parts)


def _sharing_keys(languages: Mapping[str, TextKeys]) -> tuple[tuple[str, ...], ...]:
    """Languages that share at least half of their keys with the first of their group."""
    groups: list[list[str]] = []
    found = {name: np.unique(keys.key_B) for name, keys in languages.items() if keys.key_B is not None}
    for name, own in found.items():
        for group in groups:
            if 2 * len(np.intersect1d(own, found[group[0]], assume_unique=True)) >= len(own):
                group.append(name)
                break
        else:
            groups.append([name])
    return tuple(tuple(group) for group in groups if len(group) > 1)


def _parallel_by_look(
    languages: Mapping[str, TextKeys], sizes: Sequence[int]
) -> tuple[tuple[tuple[str, ...], ...], IntArray]:
    """Groups of languages with the same rows and labels, and [N] the place that a text shares with its translations."""
    groups: dict[bytes, list[str]] = {}
    place_N = np.arange(sum(sizes))
    starts = dict(zip(languages, np.cumsum(sizes) - np.asarray(sizes, dtype=np.int64), strict=True))
    for name, keys in languages.items():
        size = len(keys.row_B)
        if size < FEWEST_ROWS:
            continue
        look = (keys.row_B - keys.row_B[0]).astype("<i8").tobytes() + keys.label_B.astype("<i8").tobytes()
        first = groups.setdefault(look, [name])[0]
        if first != name:
            groups[look].append(name)
            place_N[starts[name] : starts[name] + size] = np.arange(starts[first], starts[first] + size)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1), place_N


def _follows_a_rule(labels: IntArray) -> bool:
    """Whether nearly every label says which one comes next, as in sorted files and where classes take turns.

    Args:
        labels: [B], or [B, L] of several labels or scores.
    """
    rows_BL = labels.reshape(len(labels), -1)
    seen, code_B = np.unique(rows_BL, axis=0, return_inverse=True)
    if FEWEST_OF_A_LABEL * len(seen) > len(labels):  # what occurs once or twice is followed by one thing anyway
        return False
    pairs, counts = np.unique(code_B[:-1] * len(seen) + code_B[1:], return_counts=True)
    most = np.zeros(len(seen), dtype=np.int64)
    np.maximum.at(most, pairs // len(seen), counts)
    return bool(most.sum() >= RULED * (len(labels) - 1))


def _components(links: Sequence[IntArray]) -> IntArray:
    """[N] the same number for texts that are linked, by a chain of shared keys of whatever kind."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = len(links[0])
    rows, columns, used = [], [], size
    for key_N in links:
        codes = np.unique(key_N, return_inverse=True)[1]
        rows.append(np.arange(size))
        columns.append(used + codes)
        used += int(codes.max()) + 1
    ones = np.ones(size * len(links), dtype=np.int8)
    graph = coo_array((ones, (np.concatenate(rows), np.concatenate(columns))), shape=(used, used))
    return np.unique(connected_components(graph, directed=False)[1][:size], return_inverse=True)[1]


def common_numbers(clusters: Sequence[IntArray | None], sizes: Sequence[int]) -> tuple[list[IntArray], int]:
    """Cluster numbers 0 .. G-1 of several lists of texts, and G; a list without clusters gets a number for each text.

    Args:
        clusters: of each list, with numbers that mean the same in all of them.
        sizes: texts in each list.
    """
    joined = _joined(clusters, sizes)
    whole = np.arange(sum(sizes)) if joined is None else np.unique(joined, return_inverse=True)[1]
    ends = np.cumsum(sizes)
    parts = [whole[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    return parts, int(whole.max()) + 1 if len(whole) else 0


def sharing_clusters(clusters: Sequence[IntArray], num_clusters: int) -> list[list[int]]:
    """The lists by groups: those in one group share clusters, directly or through others of the group."""
    group_of = list(range(len(clusters)))
    owner_G = np.full(num_clusters, -1)
    for place, cluster_B in enumerate(clusters):
        met = {group_of[owner] for owner in np.unique(owner_G[cluster_B]) if owner >= 0}
        group_of = [place if group in met else group for group in group_of]
        owner_G[cluster_B] = place
    return [[place for place, group in enumerate(group_of) if group == name] for name in dict.fromkeys(group_of)]
