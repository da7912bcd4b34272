"""Texts of many requests in one micro-batch: a bounded queue, and one thread that computes.

The thread takes what is there once the oldest text has waited `max_wait`, or the texts fill a batch. While it computes,
others queue up: under load, batches fill by themselves and nobody waits for the sake of waiting.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glotune.data.encoding import Encoding, Text, Tokens
from glotune.engine.predict import Engine

Logits = NDArray[np.float64]


class QueueFull(Exception):
    """There is no room for these texts."""


class Stopped(Exception):
    """Nothing is computed any more."""


@dataclass(eq=False)
class _Waiting:
    tokens: Tokens
    answer: asyncio.Future[Logits]
    loop: asyncio.AbstractEventLoop
    since: float = field(default_factory=time.monotonic)


@dataclass
class Batcher:
    """Answers texts of any number of callers by one model.

    Args:
        engine: the model and its encoding; nothing else may use them meanwhile.
        max_wait: seconds that a text waits for others at most, while the thread is idle.
        batch_tokens: tokens that end the wait, and that a batch holds at most; a longer text goes by itself.
        queue_size: texts that may wait, be it for their tokens or for the model; a request for more is refused.
        watch: called with (texts, tokens, seconds) of each batch, from the thread.
    """

    engine: Engine
    max_wait: float
    batch_tokens: int
    queue_size: int
    watch: Callable[[int, int, float], None] = lambda *_: None

    def __post_init__(self) -> None:
        self._queue: deque[_Waiting] = deque()
        self._encoding = 0  # texts on their way to tokens
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        # The tokenizer holds settings that a call changes for its time: one call at once.
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenize")

    def start(self) -> None:
        """Begins to compute."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Computes what waits, within `seconds`, and ends."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(seconds)
        self._tokenizing.shutdown(wait=False, cancel_futures=True)

    @property
    def queued(self) -> int:
        """Texts that wait, for their tokens or for the model."""
        return len(self._queue) + self._encoding

    @property
    def is_alive(self) -> bool:
        """Whether texts are still answered."""
        return self._thread.is_alive() and not self._stopping

    @property
    def encoding(self) -> Encoding:
        """How texts become tokens."""
        return self.engine.encoding

    async def encode(self, texts: Sequence[Text]) -> list[Tokens]:
        """The tokens of some texts, off the event loop. Who stops waiting before it is their turn is passed over.

        Raises:
            QueueFull: so many more would be too many.
            Stopped: the server is ending.
        """
        with self._changed:
            self._refuse_unless(self.queued + len(texts))
            self._encoding += len(texts)
            job = self._tokenizing.submit(self.encoding.encode, texts)
        job.add_done_callback(lambda _: self._encoded(len(texts)))
        return await asyncio.wrap_future(job)

    def _encoded(self, texts: int) -> None:
        with self._changed:
            self._encoding -= texts

    def _refuse_unless(self, waiting: int) -> None:
        """There is room for so many, and they will be answered."""
        if self._stopping:
            raise Stopped
        if waiting > self.queue_size:
            raise QueueFull

    async def logits(self, texts: Sequence[Tokens]) -> Logits:
        """Logits_NC of N texts.

        Raises:
            QueueFull: N more would be too many.
            Stopped: the server is ending.
        """
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(each, loop.create_future(), loop) for each in texts]
        with self._changed:
            self._refuse_unless(len(self._queue) + len(waiting))  # those that have no tokens yet come after these
            self._queue.extend(waiting)
            self._changed.notify()
        return np.stack(await asyncio.gather(*(each.answer for each in waiting)))

    def _work(self) -> None:
        while taken := self._take():
            wanted = [each for each in taken if not each.answer.done()]  # else whoever asked has gone
            if not wanted:
                continue
            started = time.perf_counter()
            try:
                answers: list[Any] = list(self._compute([each.tokens for each in wanted]))
            except Exception as error:  # one batch that fails must not end the thread
                answers = [error] * len(wanted)
            for each, answer in zip(wanted, answers, strict=True):
                with suppress(RuntimeError):  # its event loop has ended
                    each.loop.call_soon_threadsafe(_settle, each.answer, answer)
            tokens = sum(len(each.tokens.ids) for each in wanted)
            self.watch(len(wanted), tokens, time.perf_counter() - started)

    def _compute(self, texts: list[Tokens]) -> Logits:
        # Types of single texts are all 0, so they may go with pairs.
        return self.engine.model.logits(self.encoding.packed(texts, pairs=any(any(each.types) for each in texts)))

    def _take(self) -> list[_Waiting]:
        """The next texts, oldest first; none once all is done and nothing more may come."""
        with self._changed:
            while not self._queue and not self._stopping:
                self._changed.wait()
            while self._queue and not self._stopping and not self._fills_a_batch():
                left = self._queue[0].since + self.max_wait - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return [self._queue.popleft() for _ in range(self._in_one_batch())]

    def _fills_a_batch(self) -> bool:
        return self._in_one_batch() < len(self._queue)

    def _in_one_batch(self) -> int:
        """How many of the oldest texts fit, at least one. The model cuts them by length once more."""
        tokens = 0
        for count, each in enumerate(self._queue):
            tokens += len(each.tokens.ids)
            if count and tokens > self.batch_tokens:
                return count
        return len(self._queue)


def _settle(answer: asyncio.Future[Logits], found: Any) -> None:
    if answer.done():
        return
    if isinstance(found, Exception):
        answer.set_exception(found)
    else:
        answer.set_result(found)
