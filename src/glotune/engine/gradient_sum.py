"""The sum of gradients over the ranks, begun while the last micro-batch is still on its way back.

Gradients are summed rather than averaged by DistributedDataParallel: its averaging is wrong under a global denominator,
and unequal numbers of micro-batches would hang its hooks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from glotune.engine.processes import Processes

BUCKET_BYTES = 64 * 2**20


class GradientSum:
    """Adds up the gradients of one step after another in buckets; with one rank it does nothing.

    Every rank sends the same buckets in the same order, whatever it computed: one without texts sends zeros. A bucket
    goes out as soon as the last micro-batch has added to all of its gradients, and the ones before it are out: head
    first, embeddings last, while the layers between are still computed.
    """

    def __init__(self, processes: Processes, parameters: Iterable[nn.Parameter]) -> None:
        self._processes = processes
        self._buckets = list(_buckets(list(parameters)[::-1])) if processes.ranks > 1 else []
        self._bucket_of = {id(each): number for number, bucket in enumerate(self._buckets) for each in bucket}
        self._missing = [0] * len(self._buckets)
        """Of each bucket: gradients that the last micro-batch has yet to add to."""
        self._sent: list[tuple[Tensor, torch.distributed.Work]] = []
        self._is_last = False
        for bucket in self._buckets:
            for parameter in bucket:
                parameter.register_post_accumulate_grad_hook(self._added)

    def begin(self) -> None:
        """A step begins."""
        self._sent.clear()

    @contextmanager
    def going_back(self, *, is_last: bool) -> Iterator[None]:
        """Around the backward pass of a micro-batch.

        Where memory runs out in it, it is made again with others. What was sent by then stands, and is not sent twice:
        it held the whole batch's gradients, and the other ranks have added theirs.
        """
        self._missing = [len(bucket) for bucket in self._buckets]
        self._is_last = is_last
        try:
            yield
        finally:
            self._is_last = False

    def finish(self, sums: Tensor) -> Tensor:
        """Waits for what was sent, and sends the rest: the sum of `sums`, and the summed gradients in their places.

        `sums` go along with the last bucket, where they have its precision; float64 of a host goes by itself.
        """
        if not self._buckets:
            return sums
        while len(self._sent) < len(self._buckets):
            is_last = len(self._sent) == len(self._buckets) - 1
            self._send([sums] if is_last and sums.dtype == torch.float32 else [])
        for bucket, (flat, work) in zip(self._buckets, self._sent, strict=True):
            work.wait()
            carried = _laid_back(flat, [_gradient(parameter) for parameter in bucket])
        return carried if len(carried) else self._processes.sum_(sums)

    def _added(self, parameter: Tensor) -> None:
        if not self._is_last:
            return
        self._missing[self._bucket_of[id(parameter)]] -= 1
        # The very last one waits for the sums, which are known when all is computed.
        while len(self._sent) < len(self._buckets) - 1 and self._missing[len(self._sent)] == 0:
            self._send([])

    def _send(self, more: list[Tensor]) -> None:
        gradients = [_gradient(parameter) for parameter in self._buckets[len(self._sent)]]
        flat = torch.cat([tensor.reshape(-1) for tensor in (*gradients, *more)])
        work = torch.distributed.all_reduce(flat, async_op=True)
        assert work is not None
        self._sent.append((flat, work))


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        bucket.append(parameter)
        if sum(each.nbytes for each in bucket) >= BUCKET_BYTES:
            yield bucket
            bucket = []
    if bucket:
        yield bucket


def _gradient(parameter: nn.Parameter) -> Tensor:
    """Zeros where this rank has computed none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _laid_back(flat: Tensor, gradients: Sequence[Tensor]) -> Tensor:
    """Copies the sums into the gradients' places; returns what came along behind them."""
    offset = 0
    for gradient in gradients:
        gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
        offset += gradient.numel()
    return flat[offset:]
