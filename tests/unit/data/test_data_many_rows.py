"""What is worked out a chunk at a time equals what NumPy works out at once."""

import os
from pathlib import Path

import numpy as np
import pytest

from glotune.data import batches, mapped_arrays
from glotune.data import first_rows as first_rows_module
from glotune.data.batches import by_length, epoch_order
from glotune.data.checks import conflicting, repeated
from glotune.data.first_rows import first_rows, is_among
from glotune.errors import UserError


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_arrays, "LIMIT", 0)
    monkeypatch.setattr(mapped_arrays, "CHUNK", 7)
    monkeypatch.setattr(batches, "CHUNK", 7)
    monkeypatch.setattr(first_rows_module, "TOGETHER", 16)


def keys_of(count: int, different: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    return rng.integers(-(1 << 63), (1 << 63) - 1, different)[rng.integers(0, different, count)]


@pytest.mark.parametrize(("count", "different"), [(0, 1), (1, 1), (40, 1), (40, 7), (500, 120), (500, 5000)])
def test_rows_with_one_text(count: int, different: int) -> None:
    keys = keys_of(count, different)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    found = first_rows(keys)
    assert found.tolist() == first[group].tolist()
    assert repeated(found).tolist() == (first[group] != np.arange(count)).tolist()
    labels = np.random.default_rng(1).integers(0, 3, count)
    torn = [len(set(labels[keys == key].tolist())) > 1 for key in keys]
    assert conflicting(found, labels).tolist() == torn


def test_keys_among_others() -> None:
    keys, others = keys_of(300, 90), keys_of(200, 50)
    others[:40] = keys[:40]
    parts = [others[:100], others[100:], others[:0]]
    assert is_among(keys, parts).tolist() == np.isin(keys, others).tolist()
    assert not is_among(keys, []).any()
    assert is_among(keys[:0], parts).shape == (0,)


def test_order_of_an_epoch_is_numpys_permutation() -> None:
    assert epoch_order(np.zeros(100, np.int16), 3, 5, None).tolist() == (
        np.random.default_rng([3, 5]).permutation(100).tolist()
    )


def test_order_by_length_is_a_stable_sort() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, 100)
    for rows in (np.arange(100), rng.permutation(100)[:60]):
        assert by_length(rows, lengths).tolist() == rows[np.argsort(lengths[rows], kind="stable")].tolist()


def test_offsets_places_sums() -> None:
    rng = np.random.default_rng(0)
    lengths, mask, codes = rng.integers(0, 9, 50), rng.random(50) < 0.4, rng.integers(0, 4, 50)
    assert mapped_arrays.offsets_of(lengths).tolist() == [0, *np.cumsum(lengths).tolist()]
    assert mapped_arrays.places(mask).tolist() == np.flatnonzero(mask).tolist()
    assert mapped_arrays.chosen(lengths, mask).tolist() == lengths[mask].tolist()
    assert mapped_arrays.counts(codes, 5).tolist() == np.bincount(codes, minlength=5).tolist()
    assert mapped_arrays.sums(codes, lengths, 5).tolist() == np.bincount(codes, lengths, 5).tolist()
    assert mapped_arrays.distinct(lengths).tolist() == np.unique(lengths).tolist()


def test_an_array_on_disk_has_its_room_from_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(mapped_arrays.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(UserError, match=r"No space left on device.*TMPDIR"):
        mapped_arrays.zeros(1000, np.int64)
    assert not list(tmp_path.iterdir())
