"""The one forward pass in evaluation mode: of evaluations, predictions, the prefix's filling and the probe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from glotune.data.batches import PackedBatch, shard
from glotune.engine.accelerator import within_memory
from glotune.model.cpu.packed_weights import PackedWeights
from glotune.tasks.task import Answers

if TYPE_CHECKING:
    from glotune.engine.parts import Parts
    from glotune.engine.recorder import Recorder

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
HELD_ANSWERS = 1 << 20
"""Numbers that an evaluation leaves on the device before the host fetches them: some megabytes."""
Item = TypeVar("Item")
Through = Callable[[PackedBatch], Tensor]
"""What a micro-batch is sent through: the network, or a part of it."""


class _End:
    """What comes after the last item."""


_END: Final = _End()


@torch.no_grad()
def forward(
    batches: Iterable[PackedBatch],
    network: nn.Module,
    *,
    device: torch.device,
    precision: str,
    through: Through | None = None,
    several: bool = True,
) -> Iterator[tuple[PackedBatch, Tensor]]:
    """Each micro-batch, on the device, with what the network says of it; the next one is prepared meanwhile.

    No weight may change before the last one is done.

    Args:
        through: what computes the output; the network as a whole by default.
        several: more than one micro-batch is to be expected, so that weights are packed once for all of them and a
            thread reads ahead. One alone would pay for both and gain nothing.
    """
    compute = network if through is None else through
    packed = PackedWeights() if several else None
    if network.training:  # telling every module takes milliseconds, of a single short text's fifty
        network.eval()
    for batch in ahead(batches) if several else batches:
        moved = batch.to(device)
        # Not around the whole loop: between two micro-batches this is suspended, and might never be gone on with.
        with PackedWeights.in_use(packed), autocast(device, precision):
            output = compute(moved)
        yield moved, output


def autocast(device: torch.device, precision: str, *, keeps_casts: bool = True) -> AbstractContextManager[None]:
    """bf16 or fp16 products with fp32 masters, or nothing.

    Args:
        keeps_casts: of trained weights, as long as the outermost autocast lasts.
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, HALF[precision], cache_enabled=keeps_casts)


def on_host(values: Tensor) -> Tensor:
    """The values on the host: here, and nowhere else in a step, an evaluation or a prediction, it waits for the
    device."""
    return values.detach().cpu()


class Collected:
    """[N, K] answers, taken in where they are computed and brought to the host many micro-batches at a time."""

    def __init__(self, texts: int) -> None:
        self._texts = texts
        self._answers: NDArray[np.float64] | None = None
        self._rows: list[NDArray[np.int64]] = []
        self._waiting: list[Tensor] = []
        self._held = 0

    def add(self, rows: NDArray[np.int64], answers_BK: Tensor) -> None:
        """The answers of the texts at `rows`, and of dummy texts after them."""
        answers_BK = answers_BK[: len(rows)]
        self._rows.append(rows)
        self._waiting.append(answers_BK)
        self._held += answers_BK.numel()
        if self._held > HELD_ANSWERS:
            self._settle()

    def _settle(self) -> None:
        if not self._waiting:
            return
        found = on_host(torch.cat(self._waiting)).double().numpy()
        if self._answers is None:
            self._answers = np.zeros((self._texts, found.shape[1]))
        self._answers[np.concatenate(self._rows)] = found
        self._rows, self._waiting, self._held = [], [], 0

    def all(self) -> NDArray[np.float64] | None:
        """[N, K], zeros where nothing was added; None where nothing was added at all."""
        self._settle()
        return self._answers


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items in the same order, each made by a thread of its own while the one before is in use.

    At most two are held: the one in use and the next. An error comes where its item would have.
    """
    source = iter(items)

    def take() -> Item | _End:
        return next(source, _END)

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as executor:
        upcoming = executor.submit(take)
        while not isinstance(item := upcoming.result(), _End):
            upcoming = executor.submit(take)
            yield item


def evaluate(parts: Parts, split: str, recorder: Recorder) -> Answers:
    """What the network says of every text of a split, for each pass of the run's task; every rank gets all answers.

    The cut is by length under the run's planned budget, never the one that memory may have halved while training:
    so a resumed run cuts as the uninterrupted one. Where memory runs out in here, the pass is made again, cut smaller.
    """
    store, processes = parts.stores[split], parts.processes
    rows = shard(np.arange(len(store)), store.lengths, processes.rank, processes.ranks)
    longest = int(store.costs[rows].max()) if len(rows) else 0
    passes = parts.task.passes(split)
    total = len(passes) * len(rows)

    def answers_of(number: int, token_budget: int) -> NDArray[np.float64]:
        each, done = passes[number], number * len(rows)
        collected = Collected(len(store))
        batches = parts.micro_batches(split, rows, token_budget, each.dress)
        for batch, answers_BK in parts.forward(batches, lambda batch: each.answer(parts.network, batch)):
            collected.add(batch.rows, answers_BK)
            done += len(batch.rows)
            recorder.observer.progress("evaluate", done, total, {})
        found = collected.all()
        return np.zeros((len(store), each.width)) if found is None else found

    def halved(budget: int) -> None:
        recorder.deviation(f"out of memory in the evaluation of {split}: made again with {budget} tokens")

    return [
        processes.sum_array(
            within_memory(partial(answers_of, number), parts.plan.token_budget, longest, parts.device, halved)
        )
        for number in range(len(passes))
    ]
