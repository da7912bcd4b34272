"""Seeded, stratified choices of rows: made splits, shares of the training rows, few-shot rows.

All functions work on integer arrays of N rows and return boolean masks; the same seed gives the same rows.
"""

from __future__ import annotations

import numpy as np

from glotune.data.texts import first_rows


def allocate(counts: np.ndarray, total: int) -> np.ndarray:
    """Shares `total` out in proportion to `counts` by largest remainder (Hamilton's method).

    Every non-empty stratum gets at least one where `total` suffices, and none gets more than it has.

    Args:
        counts: rows per stratum, [S].
        total: how many to share out, at most ``counts.sum()``.
    """
    if total <= 0 or counts.sum() == 0:
        return np.zeros_like(counts)
    exact = counts * (total / counts.sum())
    shares = np.minimum(np.floor(exact).astype(np.int64), counts)
    if total >= np.count_nonzero(counts):
        shares = np.maximum(shares, (counts > 0).astype(np.int64))
    order = np.argsort(-(exact - np.floor(exact)), kind="stable")
    while shares.sum() < total:
        open_strata = [index for index in order if shares[index] < counts[index]]
        for index in open_strata[: total - int(shares.sum())]:
            shares[index] += 1
    while shares.sum() > total:  # the guaranteed ones are paid for by the strata furthest above their due
        surplus = np.where(shares > 1, shares - exact, -np.inf)
        shares[int(np.argmax(surplus))] -= 1
    return shares


def sample(strata: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """A stratified sample without replacement: mask [N] with `total` rows chosen.

    Args:
        strata: stratum of each row, [N] integers.
        total: rows to choose, at most N.
        rng: the only source of chance.
    """
    chosen = np.zeros(len(strata), bool)
    names = np.unique(strata)
    sizes = np.array([np.count_nonzero(strata == name) for name in names], np.int64)
    for name, share in zip(names, allocate(sizes, total), strict=True):
        chosen[rng.permutation(np.flatnonzero(strata == name))[:share]] = True
    return chosen


def cut_off(strata: np.ndarray, keys: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Cuts about `share` of the rows off, all rows with one key staying together: mask [N] of those cut off.

    Each stratum gives its share to within one group of equal texts, at least one row where it has two different
    texts, and keeps at least one. A group counts to the stratum of its first row.

    Args:
        strata: stratum (label and language) of each row, [N].
        keys: hash of each text, [N]; rows with equal keys are duplicates.
        share: 0 to 1.
        rng: the only source of chance.
    """
    first = first_rows(keys)  # a group goes by its first row, which is independent of the hash's order
    sizes, leads = np.bincount(first, minlength=len(first)), first == np.arange(len(first))
    cut = np.zeros(len(first), bool)
    for name in np.unique(strata):
        groups = np.flatnonzero((strata == name) & leads)
        if len(groups) >= 2 and share > 0:
            cut[_fill(rng.permutation(groups), sizes, share)] = True
    return cut[first]


def _fill(groups: np.ndarray, sizes: np.ndarray, share: float) -> np.ndarray:
    """The first groups (never all) whose sizes come nearest to `share` of the rows from below, at least one."""
    wanted = max(1, round(share * int(sizes[groups].sum())))
    chosen: list[int] = []
    filled = 0
    for group in groups:
        if filled >= wanted or len(chosen) == len(groups) - 1:
            break
        if not chosen or filled + sizes[group] <= wanted:
            chosen.append(int(group))
            filled += int(sizes[group])
    return np.asarray(chosen, np.int64)
