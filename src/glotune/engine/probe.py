"""A short measured probe before a run starts: memory against the token budget, and throughput.

It leaves no trace: weights, gradients, moments and random states are as before, bit for bit.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from glotune.data.batches import PackedBatch, by_length, sent
from glotune.data.tokenization import TokenStore
from glotune.engine.parts import Parts
from glotune.engine.plan import Need
from glotune.model.cpu.packed_weights import packed_bytes
from glotune.model.half_weights import cast_bytes

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

    On a GPU its allocator reports it. On the host nothing reliable does: what a process holds moves in large steps and
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
    """Processes of this run on this machine, as launchers say; all of them where they don't."""
    told = os.environ.get("LOCAL_WORLD_SIZE", "")
    return int(told) if told.isdecimal() and int(told) > 0 else ranks


HOST, GPU = 0, 1
MEMORY_TOKENS = ((128, 256), (1024, 4096))
"""Host, GPU: tokens of the two micro-batches that the line through memory is drawn by."""
TIMED_TOKENS = (512, 8192)
"""Host, GPU: tokens of the micro-batches that are timed."""
COPIES = (4, 3)
"""Host, GPU: how often training holds what it trains, beside the weights: gradients and two moments; on the host once
more, for freed memory in pieces (12 layers 768 wide: 0.43 GB of gradients, 0.5 GB in pieces)."""
REPEATS, ENOUGH_SECONDS = 2, 0.1
"""A timed pass is repeated, the fastest counts, until it was made so often or took so long."""
SLICE = 1 << 22
"""Weights of the stand-in whose AdamW update is timed."""


@dataclass(frozen=True)
class Rates:
    """Seconds that this rank spends."""

    training: float
    """Per token (padding not counted), forward and back."""
    evaluation: float
    """Per token; 0 without validation texts."""
    prefix: float
    """Per token, in the frozen layers whose output is going to be cached; 0 where none is."""
    update: float
    """Per optimizer update."""
    reading: float = 0.0
    """Per token, to bring the kept output of the frozen layers from memory to a GPU; 0 elsewhere, and without one. From
    disk it takes longer."""


@dataclass(frozen=True)
class Probe:
    """Measures one run's parts.

    `cached` says of each split whether the frozen prefix of its texts is going to be read from a cache; the probe
    computes it first.
    """

    parts: Parts
    cached: Mapping[str, bool]

    def measure(self) -> tuple[Need, Rates]:
        """Memory first: it also warms up what is timed then."""
        network, on_gpu = self.parts.network, self._kind == GPU
        was_training = network.training
        with torch.random.fork_rng(devices=[self.parts.device] if on_gpu else []):
            try:
                return self._need(), self._rates()
            finally:
                network.train(was_training)

    @property
    def _kind(self) -> int:
        return GPU if self.parts.device.type == "cuda" else HOST

    # ---- memory ---------------------------------------------------------------------------------------

    def _need(self) -> Need:
        """The line through two micro-batches of the longest training text, in any epoch and view, forward and back.

        The gradients of weights are left out of the passes and counted by themselves (`Need.held`): in a small
        micro-batch they would hide the activations, which are gone when the last of them comes.
        """
        parts = self.parts
        lowest, longest = [lowest_trained(parts)], self._longest()
        peaks: list[tuple[int, int]] = []
        for texts, length in self._sizes():
            # The longest text again and again: no micro-batch under the budget can hold more per token. It stands for
            # a second view too, where there is one: no text's views are both longer than the longer of them.
            rows = np.full(texts, int(np.argmax(longest.costs)))
            pad_to = None if parts.settings.train.batching == "packed" else min(length, parts.settings.max_length)
            dress = parts.task.objective(0, rows).dress
            micro = self._ready(parts.load("train", rows, pad_to, dress, longest), "train")
            parts.network.train()
            work = partial(self._backward, micro, lowest)
            if self._kind == GPU:
                work()  # the libraries' workspaces come with the first pass
            peaks.append((texts * length, peak_of(work, parts.device, held_by(micro, parts))))
        # Activations grow in proportion to the tokens, on top of what is there in any case: two points give the line,
        # and it is extrapolated to the budget. A probe at the full budget could itself run out of memory.
        (few, low), (many, high) = peaks
        per_token = max(0.0, (high - low) / (many - few))
        sizes = [value.numel() * value.element_size() for value in parts.trainable.values()]
        held = COPIES[self._kind] * sum(sizes) + max(sizes) + self._packed()
        return Need(held=held, fixed=max(0, int(low - per_token * few)), per_token=per_token)

    def _packed(self) -> int:
        """Bytes of packed and cast weights, which passes outside a step do without."""
        network = self.parts.network
        first = (network.prefix_depth or 0) if self.cached.get("train", False) else 0
        parts = dict.fromkeys([*network.anatomy.layers[first:], *network.anatomy.head.values()])
        return sum(packed_bytes(part) + cast_bytes(part) for part in parts)

    def _longest(self) -> TokenStore:
        """The training texts in the epoch and view that has the longest of all, by itself."""
        views = [replace(store, twin=None, epochs=()) for store in self.parts.stores["train"].read_in_training]
        return max(views, key=lambda store: int(store.costs.max()))

    def _sizes(self) -> list[tuple[int, int]]:
        """(texts, tokens of each as the budget counts them) of the two micro-batches."""
        parts = self.parts
        longest = int(self._longest().costs.max())
        if parts.settings.train.batching == "fixed":
            limit = parts.settings.max_length
            longest = -(-longest // limit) * limit
        few, many = (max(1, tokens // longest) for tokens in MEMORY_TOKENS[self._kind])
        return [(few, longest), (max(few + 1, many), longest)]

    # ---- time -----------------------------------------------------------------------------------------

    def _rates(self) -> Rates:
        parts = self.parts
        texts = self._typical("train")
        prefix = 0.0
        if any(self.cached.values()):
            prefix = self._fastest(texts, partial(parts.forward, through=parts.network.prefix))
        ready = [self._ready(micro, "train") for micro in texts]
        parts.network.train()
        trained = list(parts.trainable.values())
        training = self._fastest(ready, partial(map, partial(self._backward, wanted=trained)))
        if parts.settings.adversarial is not None:
            training *= 1 + parts.settings.adversarial.moves
        evaluation = 0.0
        if "validation" in parts.stores:
            held_out = [self._ready(micro, "validation") for micro in self._typical("validation")]
            evaluation = self._fastest(held_out, parts.forward)
        reading = self._fastest(texts, self._read_back) if prefix and self._kind == GPU else 0.0
        return Rates(training, evaluation, prefix, self._update(), reading)

    def _read_back(self, micro_batches: Sequence[PackedBatch]) -> Iterator[Tensor]:
        """As a step does it: texts laid end to end in memory, locked there, copied."""
        width = self.parts.network.hidden_size
        for micro in micro_batches:
            pieces = [np.zeros((length, width), dtype=np.float32) for length in micro.lengths]
            yield sent(torch.from_numpy(np.concatenate(pieces)), self.parts.device)

    def _typical(self, split: str) -> list[PackedBatch]:
        """Texts spread evenly over the split's lengths, at most an effective batch of them, cut as in training."""
        parts = self.parts
        store = parts.texts_of(0) if split == "train" else parts.stores[split]
        lengths = store.lengths
        most = min(len(lengths), parts.settings.train.batch_size)
        count = min(most, max(1, round(TIMED_TOKENS[self._kind] / float(lengths.mean()))))
        # The middle of each of `count` equal parts of the length distribution: neither the shortest nor the longest
        # texts, which would tell more about the extremes than about an epoch.
        places = (np.arange(count) + 0.5) * len(lengths) / count
        rows = by_length(np.arange(len(lengths)), lengths)[places.astype(np.int64)]
        dress = parts.task.objective(0, rows).dress if split == "train" else None
        return list(parts.micro_batches(split, rows, parts.plan.token_budget, dress, store))

    def _fastest(
        self, micro_batches: Sequence[PackedBatch], work: Callable[[Sequence[PackedBatch]], Iterator[object]]
    ) -> float:
        """Seconds per token of going through `work` to its end."""
        tokens = sum(micro.num_tokens for micro in micro_batches)
        taken: list[float] = []
        while not taken or (len(taken) < REPEATS and sum(taken) < ENOUGH_SECONDS):
            self._wait()
            begin = time.perf_counter()
            for _ in work(micro_batches):
                pass
            self._wait()
            taken.append(time.perf_counter() - begin)
        # The fastest: whatever else runs on the machine can only add time.
        return min(taken) / tokens

    def _update(self) -> float:
        """Of a stand-in with the same number of weights, or of a slice of it."""
        total = sum(value.numel() for value in self.parts.trainable.values())
        stand_in = nn.Parameter(torch.zeros(min(total, SLICE), device=self.parts.device))
        stand_in.grad = torch.zeros_like(stand_in)
        optimizer = torch.optim.AdamW([stand_in], fused=True)
        optimizer.step()  # makes the moments
        self._wait()
        begin = time.perf_counter()
        optimizer.step()
        self._wait()
        return (time.perf_counter() - begin) * total / stand_in.numel()

    def _wait(self) -> None:
        if self._kind == GPU:
            torch.cuda.synchronize(self.parts.device)

    # ---- passes ---------------------------------------------------------------------------------------

    def _ready(self, micro: PackedBatch, split: str) -> PackedBatch:
        """On the device, with the prefix's output where training will find it in the cache."""
        moved = micro.to(self.parts.device)
        return replace(moved, hidden_TH=self._prefix(moved)) if self.cached.get(split, False) else moved

    def _prefix(self, micro: PackedBatch) -> Tensor:
        self.parts.network.eval()
        with self.parts.autocast():
            return self.parts.network.prefix(micro).float()

    def _backward(self, micro: PackedBatch, wanted: Sequence[nn.Parameter]) -> None:
        """Gradients of `wanted`, which are dropped: ``.grad`` stays as it is."""
        parts = self.parts
        micro = micro if parts.settings.adversarial is None else parts.noisy(micro)
        with parts.autocast():
            part = parts.task.objective(0, micro.rows).part(parts.network, micro)
        asked = wanted if micro.noise_TE is None else [*wanted, micro.noise_TE]
        torch.autograd.grad(part.loss, asked, allow_unused=True)


def lowest_trained(parts: Parts) -> nn.Parameter:
    """The smallest of the trained parameters that sit lowest: its gradient asks for the whole way back."""
    anatomy = parts.network.anatomy

    def place(name: str) -> tuple[float, int]:
        depth = anatomy.depth_of(name)
        return (float("inf") if depth is None else depth, parts.trainable[name].numel())

    return parts.trainable[min(parts.trainable, key=place)]


def held_by(micro: PackedBatch, parts: Parts) -> list[Tensor]:
    """Tensors that are there before a pass: weights and the micro-batch."""
    return [*parts.network.parameters(), *parts.network.buffers(), *micro.tensors()]
