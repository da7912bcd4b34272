"""The one forward pass in evaluation mode: of evaluations, predictions, the prefix's filling and the probe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from glotune.data.batches import PackedBatch, shard
from glotune.engine.observer import Observer
from glotune.model.cpu.packed_weights import PackedWeights
from glotune.tasks.task import Answers

if TYPE_CHECKING:
    from glotune.engine.parts import Parts

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
    network.eval()
    for batch in ahead(batches) if several else batches:
        moved = batch.to(device)
        # Not around the whole loop: between two micro-batches this is suspended, and might never be gone on with.
        with PackedWeights.in_use(packed), autocast(device, precision):
            output = compute(moved)
        yield moved, output


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """bf16 products with fp32 masters, or nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


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


def evaluate(parts: Parts, split: str, observer: Observer) -> Answers:
    """What the network says of every text of a split, for each pass of the run's task; every rank gets all answers.

    The cut is by length under the run's planned budget, never the one that memory may have halved while training:
    so a resumed run cuts as the uninterrupted one.
    """
    store, processes = parts.stores[split], parts.processes
    rows = shard(np.arange(len(store)), store.lengths, processes.rank, processes.ranks)
    passes = parts.task.passes(split)
    done, total = 0, len(passes) * len(rows)
    found = []
    for each in passes:
        answers_NK = np.zeros((len(store), each.width))
        batches = parts.micro_batches(split, rows, parts.plan.token_budget, each.dress)
        for batch, answers_BK in parts.forward(batches, partial(each.answer, parts.network)):
            answers_NK[batch.rows] = answers_BK.double().cpu().numpy()
            done += len(batch)
            observer.progress("evaluate", done, total, {})
        found.append(processes.sum_array(answers_NK))
    return found
