"""Rows with one text are found by their keys, and what is looked at in pieces comes out whole."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glotune.data import tokenization
from glotune.data.batches import by_length, epoch_order
from glotune.data.checks import conflicting, leaked, repeated
from glotune.data.texts import LabelledTexts, belonging, first_rows
from glotune.data.tokenization import TokenStore


def keys_of(count: int, different: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    return rng.integers(-(1 << 63), (1 << 63) - 1, different)[rng.integers(0, different, count)]


@pytest.mark.parametrize(("count", "different"), [(0, 1), (1, 1), (40, 1), (40, 7), (500, 120), (500, 5000)])
def test_rows_with_one_text(count: int, different: int) -> None:
    keys = keys_of(count, different)
    places: dict[int, int] = {}
    expected = [places.setdefault(key, row) for row, key in enumerate(keys.tolist())]
    found = first_rows(keys)
    assert found.tolist() == expected
    assert repeated(found).tolist() == [first != row for row, first in enumerate(expected)]
    labels = np.random.default_rng(1).integers(0, 3, count)
    torn = [len(set(labels[keys == key].tolist())) > 1 for key in keys]
    assert conflicting(found, labels).tolist() == torn


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 12), st.one_of(st.none(), st.integers(0, 12))), min_size=1, max_size=40))
def test_rows_belong_together_through_texts_and_ids(rows: list[tuple[int, int | None]]) -> None:
    keys, named = np.array([row[0] for row in rows]), [None if row[1] is None else f"i{row[1]}" for row in rows]
    chunks = pa.chunked_array([pa.array(named[:5], pa.string()), pa.array(named[5:], pa.string())])
    found = belonging(pa.table({"key": keys, "id": chunks}))
    group = list(range(len(rows)))
    for _ in rows:
        for one, (text, each) in enumerate(rows):
            linked = [at for at, row in enumerate(rows) if row[0] == text or (each is not None and row[1] == each)]
            group[one] = min(group[at] for at in linked)
    assert first_rows(found).tolist() == first_rows(np.array(group)).tolist()
    assert belonging(pa.table({"key": keys})).tolist() == keys.tolist()


def test_keys_among_those_of_earlier_splits() -> None:
    keys, others = keys_of(300, 90), keys_of(200, 50)
    others[:40] = keys[:40]

    def split(name: str, its: np.ndarray) -> LabelledTexts:
        return LabelledTexts(pa.table({"key": its}), name)

    splits = {"train": split("train", others[:100]), "validation": split("validation", others[100:])}
    earlier = set(others.tolist())
    assert leaked(splits | {"test": split("test", keys)}).tolist() == [key in earlier for key in keys.tolist()]
    assert leaked(splits | {"test": split("test", keys[:0])}).shape == (0,)


def test_order_of_an_epoch_is_numpys_permutation() -> None:
    assert epoch_order(np.zeros(100, np.int16), 3, 5, None).tolist() == (
        np.random.default_rng([3, 5]).permutation(100).tolist()
    )


def test_order_by_length_is_a_stable_sort() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, 100)
    for rows in (np.arange(100), rng.permutation(100)[:60]):
        assert by_length(rows, lengths).tolist() == sorted(rows.tolist(), key=lambda row: lengths[row])


def test_distinct_tokens_are_those_of_all_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenization, "TOGETHER", 7)
    tokens = np.random.default_rng(0).integers(0, 30, 100).astype(np.int32)
    found = TokenStore.distinct_tokens(cast(Any, SimpleNamespace(tokens=tokens, epochs=(), twin=None)))
    assert found.tolist() == sorted(set(tokens.tolist()))
    assert found.dtype == np.int32
