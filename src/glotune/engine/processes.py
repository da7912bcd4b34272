"""The processes of one run: who am I, how many are we, and how sums cross between us."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor, nn

from glotune.engine.control import signals_as_before

BUCKET_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Processes:
    """The ranks of a run, as `accelerate launch` or `torchrun` started them; one rank otherwise.

    Gradients are summed once per optimizer step by `sum_gradients` rather than by DistributedDataParallel: its
    averaging is wrong under a global denominator, and unequal numbers of micro-batches would hang its hooks
    (fact 16).
    """

    rank: int
    ranks: int
    device: torch.device

    @classmethod
    def start(cls, device: str) -> Processes:
        """Joins the process group, if one was launched. `device` is ``cpu``, ``cuda`` or ``mps``."""
        with signals_as_before():  # joining can wait long for the others, where no handler of ours would be run
            state = PartialState(cpu=device == "cpu")
        return cls(rank=state.process_index, ranks=state.num_processes, device=torch.device(state.device))

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files."""
        return self.rank == 0

    def lost_another(self, error: BaseException) -> bool:
        """Whether an error says that another rank is gone: gloo and NCCL raise RuntimeError and its kin for that."""
        message = str(error).lower()
        signs = ("connection", "gloo", "nccl", "socket", "peer", "broken pipe")
        return self.ranks > 1 and isinstance(error, RuntimeError) and any(sign in message for sign in signs)

    def barrier(self) -> None:
        """Waits for every rank."""
        if self.ranks > 1:
            torch.distributed.barrier()

    def agree(self, text: str) -> str:
        """The main rank's text, on every rank."""
        box = [text]
        if self.ranks > 1:
            torch.distributed.broadcast_object_list(box)
        return box[0]

    def sum_(self, tensor: Tensor) -> Tensor:
        """Sums a tensor over the ranks, in place."""
        if self.ranks > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.ranks == 1:
            return flag
        return bool(self.sum_(torch.tensor(float(flag), device=self.device)) > 0)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sums gradients over the ranks in buckets; a rank without texts contributes zeros."""
        if self.ranks == 1:
            return
        bucket: list[Tensor] = []
        size = 0
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            bucket.append(parameter.grad)
            size += parameter.grad.numel() * parameter.grad.element_size()
            if size >= BUCKET_BYTES:
                self._sum_bucket(bucket)
                bucket, size = [], 0
        if bucket:
            self._sum_bucket(bucket)

    def _sum_bucket(self, tensors: list[Tensor]) -> None:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        offset = 0
        for tensor in tensors:
            tensor.copy_(flat[offset : offset + tensor.numel()].view_as(tensor))
            offset += tensor.numel()

    def sum_array(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums a host array over the ranks: how every rank gets what each computed a part of."""
        if self.ranks == 1:
            return array
        summed = self.sum_(torch.from_numpy(array).to(self.device))
        return np.asarray(summed.cpu().numpy())
