from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from glotune.engine.forward import ahead
from glotune.engine.step import StepTime


def test_items_come_in_order_and_whole() -> None:
    assert list(ahead(range(100))) == list(range(100))
    assert list(ahead([])) == []
    assert list(ahead([None, None])) == [None, None]


def test_one_item_is_made_while_another_is_used() -> None:
    made = [threading.Event() for _ in range(3)]

    def source() -> Iterator[int]:
        for number in range(3):
            made[number].set()
            yield number

    items = ahead(source())
    assert next(items) == 0
    assert made[1].wait(timeout=10), "the second is made although nobody asked for it yet"
    assert not made[2].is_set(), "and no more than that"
    assert list(items) == [1, 2]


def test_an_error_comes_in_its_turn() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    items = ahead(source())
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)


def test_leaving_early_leaves_no_thread() -> None:
    before = set(threading.enumerate())  # of other tests' generators, say
    items = ahead(iter(range(10**9)))
    assert next(items) == 0
    assert any(thread.name.startswith("prefetch") for thread in set(threading.enumerate()) - before)
    items.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before


def test_the_share_of_waiting() -> None:
    time = StepTime()
    assert time.wall() == {"seconds": 0.0, "wait_share": 0.0}
    time.add(3.0, 0.5)
    time.add(1.0, 0.5)
    assert time.wall() == {"seconds": 4.0, "wait_share": 0.25}
