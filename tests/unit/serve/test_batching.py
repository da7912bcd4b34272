"""Texts of many callers in shared batches: each gets its own answer, the queue is bounded, and the end is orderly."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from glotune.data.encoding import Tokens
from glotune.serve.batching import Batcher, QueueFull, Stopped


class Echo:
    """A model that answers a text's own tokens, and notes its batches; it waits while `gate` is closed."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails = False

    def encode(self, texts: list[str]) -> list[Tokens]:
        self.gate.wait(10)
        return [text(int(each)) for each in texts]

    def logits(self, texts: list[Tokens]) -> np.ndarray:
        self.gate.wait(10)
        self.batches.append([each.ids[0] for each in texts])
        if self.fails:
            raise MemoryError
        return np.array([[float(each.ids[0]), -1.0] for each in texts])


@contextmanager
def batching(**settings: Any) -> Iterator[tuple[Batcher, Echo]]:
    model = Echo()
    encoding = SimpleNamespace(packed=lambda texts, pairs: texts, encode=model.encode)
    engine: Any = SimpleNamespace(model=model, encoding=encoding)
    batcher = Batcher(engine, **{"max_wait": 0.01, "batch_tokens": 100, "queue_size": 50} | settings)
    batcher.start()
    try:
        yield batcher, model
    finally:
        model.gate.set()
        batcher.stop(10)


def text(number: int, length: int = 1) -> Tokens:
    return Tokens([number] * length, [0] * length, length)


def test_every_caller_gets_the_answers_to_its_own_texts() -> None:
    async def ask(batcher: Batcher) -> list[np.ndarray]:
        return await asyncio.gather(*(batcher.logits([text(10 * n), text(10 * n + 1)]) for n in range(20)))

    with batching(queue_size=100) as (batcher, model):
        found = asyncio.run(ask(batcher))
    for number, logits_NC in enumerate(found):
        assert logits_NC[:, 0].tolist() == [10 * number, 10 * number + 1]
    assert len(model.batches) < 10, "they shared batches"


def test_a_batch_ends_at_its_tokens_and_a_longer_text_goes_by_itself() -> None:
    async def ask(batcher: Batcher) -> None:
        lengths = [40, 40, 40, 300, 20]
        await asyncio.gather(*(batcher.logits([text(n, length)]) for n, length in enumerate(lengths)))

    with batching(max_wait=0.2) as (batcher, model):
        asyncio.run(ask(batcher))
    assert model.batches == [[0, 1], [2], [3], [4]]


def test_one_text_alone_waits_no_longer_than_it_was_said() -> None:
    async def ask(batcher: Batcher) -> None:
        await asyncio.wait_for(batcher.logits([text(1)]), 5)

    with batching(max_wait=0.05) as (batcher, model):
        asyncio.run(ask(batcher))
    assert model.batches == [[1]]


def test_a_full_queue_refuses_and_takes_again_afterwards() -> None:
    async def ask(batcher: Batcher, model: Echo) -> None:
        model.gate.clear()
        first = asyncio.create_task(batcher.logits([text(0)]))
        while batcher.queued or not first:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # it is being computed
        waiting = asyncio.create_task(batcher.logits([text(n) for n in (1, 2, 3)]))
        await asyncio.sleep(0.01)
        with pytest.raises(QueueFull):
            await batcher.logits([text(4), text(5)])
        assert batcher.queued == 3, "nothing of a refused request is left"
        model.gate.set()
        assert (await waiting)[:, 0].tolist() == [1, 2, 3]
        assert (await batcher.logits([text(6)]))[0, 0] == 6

    with batching(queue_size=4) as (batcher, model):
        asyncio.run(ask(batcher, model))


def test_texts_that_wait_for_their_tokens_fill_the_queue_too() -> None:
    async def ask(batcher: Batcher, model: Echo) -> None:
        model.gate.clear()
        waiting = [asyncio.create_task(batcher.encode([number, number])) for number in ("1", "2")]
        await asyncio.sleep(0.05)
        with pytest.raises(QueueFull):
            await batcher.encode(["3"])
        waiting[1].cancel()
        await asyncio.sleep(0.01)
        assert batcher.queued == 2, "the first ones, which are being encoded"
        third = asyncio.create_task(batcher.encode(["3", "3"]))
        await asyncio.sleep(0.01)
        model.gate.set()
        assert [each.ids for each in await waiting[0]] == [[1], [1]]
        assert [each.ids for each in await third] == [[3], [3]]
        assert batcher.queued == 0

    with batching(queue_size=4) as (batcher, model):
        asyncio.run(ask(batcher, model))
        batcher.stop(10)
        with pytest.raises(Stopped):
            asyncio.run(batcher.encode(["4"]))


def test_who_has_gone_is_not_computed_for() -> None:
    async def ask(batcher: Batcher, model: Echo) -> None:
        model.gate.clear()
        first = asyncio.create_task(batcher.logits([text(0)]))
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.logits([text(1)]), 0.05)
        model.gate.set()
        await first
        await batcher.logits([text(2)])

    with batching() as (batcher, model):
        asyncio.run(ask(batcher, model))
    assert [1] not in model.batches
    assert [number for batch in model.batches for number in batch] == [0, 2]


def test_a_batch_that_fails_ends_nothing_else() -> None:
    async def ask(batcher: Batcher, model: Echo) -> None:
        model.fails = True
        with pytest.raises(MemoryError):
            await batcher.logits([text(0)])
        model.fails = False
        assert (await batcher.logits([text(1)]))[0, 0] == 1

    with batching() as (batcher, model):
        asyncio.run(ask(batcher, model))
        assert batcher.is_alive


def test_the_end_answers_what_waits_and_takes_nothing_more() -> None:
    async def ask(batcher: Batcher, model: Echo) -> None:
        model.gate.clear()
        waiting = [asyncio.create_task(batcher.logits([text(n, 60)])) for n in range(5)]
        await asyncio.sleep(0.05)
        ending = asyncio.create_task(asyncio.to_thread(batcher.stop, 10))
        await asyncio.sleep(0.05)
        with pytest.raises(Stopped):
            await batcher.logits([text(9)])
        assert not batcher.is_alive
        model.gate.set()
        assert [(await each)[0, 0] for each in waiting] == [0, 1, 2, 3, 4]
        await ending

    with batching() as (batcher, model):
        asyncio.run(ask(batcher, model))
