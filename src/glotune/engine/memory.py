"""How much memory is free for this process, and how much a computation holds at its peak."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still take: on its GPU, or on the host, whichever limit is nearest there."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free_on_host()


def free_on_host() -> int:
    """What the system has available, within what the process's control groups allow (containers, Slurm)."""
    import psutil

    return max(0, min([int(psutil.virtual_memory().available), *_left_in_groups()]))


def _left_in_groups() -> Iterator[int]:
    """Bytes left in each control group with a limit: v2 (one hierarchy), then v1's memory controller."""
    try:
        lines = OWN_CGROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if not controllers:
            yield from _left(CGROUPS, place, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _left(CGROUPS / "memory", place, *names)


def _left(root: Path, place: str, limit: str, usage: str, cached: str) -> Iterator[int]:
    """Of the group and of every one that it is in. In a container its own group is the root that it sees."""
    own = root / place.lstrip("/")
    for folder in (own, *own.parents):
        if not folder.is_relative_to(root):
            return
        try:
            most = (folder / limit).read_text(encoding="utf-8").strip()
            used = int((folder / usage).read_text(encoding="utf-8"))
            stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        except (OSError, ValueError):
            continue
        if most != "max":
            yield int(most) - used + (int(stat[cached]) if cached in stat else 0)


def peak_of(work: Callable[[], object], device: torch.device, there: Iterable[Tensor]) -> int:
    """Bytes that `work` holds at its peak, on top of what is held before it.

    On a GPU its allocator tells. On the host nothing reliable does: what a process holds moves in large steps and
    hardly ever falls. So there every tensor is weighed while it lives, which gives the same number every time; what
    kernels take for themselves inside one call is not seen.

    Args:
        there: tensors that exist already, whose views are no new memory.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with LiveBytes(there) as live:
        work()
    return live.peak


class LiveBytes(TorchDispatchMode):
    """Weighs the storages that operations make while they live, each once."""

    def __init__(self, there: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._there = {tensor.untyped_storage()._cdata for tensor in there}
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the operation as it is, and weighs what came out."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._weigh(leaf)
        return result

    def _weigh(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._there or key in self._alive:
            return
        size = storage.nbytes()

        def gone(_: object) -> None:
            self.now -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def local_ranks(ranks: int) -> int:
    """Processes of this run on this machine, as launchers tell; all of them where they don't."""
    told = os.environ.get("LOCAL_WORLD_SIZE", "")
    return int(told) if told.isdecimal() and int(told) > 0 else ranks
