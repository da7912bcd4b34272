"""Splits: shares add up, duplicates stay together, the same seed gives the same rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from glotune.data.pools import allocate, cut_off, sample

COUNTS = st.lists(st.integers(0, 200), min_size=1, max_size=8).map(np.array)
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=120)


@given(COUNTS, st.floats(0, 1))
def test_allocation_adds_up_and_never_exceeds(counts: np.ndarray, share: float) -> None:
    total = round(share * int(counts.sum()))
    shares = allocate(counts, total)
    assert shares.sum() == total
    assert (shares >= 0).all()
    assert (shares <= counts).all()
    if total >= np.count_nonzero(counts):
        assert (shares[counts > 0] >= 1).all()


@given(st.lists(st.integers(20, 500), min_size=1, max_size=6).map(np.array), st.floats(0.2, 0.8))
def test_allocation_is_proportional_to_within_one(counts: np.ndarray, share: float) -> None:
    total = round(share * int(counts.sum()))
    assert (np.abs(allocate(counts, total) - counts * total / counts.sum()) < 1).all()


@given(ROWS, st.floats(0, 1), st.integers(0, 9))
def test_sample_has_its_size_and_is_seeded(rows: list[tuple[int, int]], share: float, seed: int) -> None:
    strata = np.array([stratum for stratum, _ in rows])
    total = round(share * len(rows))
    first = sample(strata, total, np.random.default_rng(seed))
    assert first.sum() == total
    assert (first == sample(strata, total, np.random.default_rng(seed))).all()


@given(ROWS, st.floats(0.01, 0.9), st.integers(0, 9))
def test_cut_keeps_duplicates_together_and_something_on_both_sides(
    rows: list[tuple[int, int]], share: float, seed: int
) -> None:
    strata, keys = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    cut = cut_off(strata, keys, share, np.random.default_rng(seed))
    assert not set(keys[cut]) & set(keys[~cut])
    first = {key: int(np.flatnonzero(keys == key)[0]) for key in set(keys.tolist())}
    for stratum in np.unique(strata):
        groups = [key for key, place in first.items() if strata[place] == stratum]
        sides = {bool(cut[first[key]]) for key in groups}
        assert sides == {True, False} or len(groups) < 2


@given(st.integers(20, 300), st.floats(0.05, 0.5), st.integers(0, 9))
def test_cut_is_exact_without_duplicates(count: int, share: float, seed: int) -> None:
    strata = np.arange(count) % 2
    cut = cut_off(strata, np.arange(count), share, np.random.default_rng(seed))
    for stratum in (0, 1):
        mine = strata == stratum
        assert cut[mine].sum() == max(1, round(share * int(mine.sum())))


@given(ROWS, st.integers(0, 9))
def test_cut_does_not_depend_on_what_the_keys_are(rows: list[tuple[int, int]], seed: int) -> None:
    strata, keys = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    renamed = (keys * 7919) % 104729
    first = cut_off(strata, keys, 0.3, np.random.default_rng(seed))
    assert (first == cut_off(strata, renamed, 0.3, np.random.default_rng(seed))).all()
