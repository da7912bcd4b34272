"""What a checkpoint costs a step: the time that training stands still, the time of the write, the memory meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import torch
from torch import nn

from glotune.engine.checkpoints import CheckpointStore, size_of, snapshot
from glotune.engine.state import TrainingState


def report(millions: float, folder: Path) -> int:
    """Saves an AdamW over so many million parameters, and prints one table row."""
    size = int(millions * 1e6)
    trainable = {f"part{number}": nn.Parameter(torch.randn(size // 20)) for number in range(20)}
    optimizer = torch.optim.AdamW(trainable.values(), lr=1e-3)
    for value in trainable.values():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    store = CheckpointStore(folder, keep=1)
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    store.save(snapshot(trainable, optimizer, TrainingState(step=1)))
    stalled = time.perf_counter() - started
    extra = psutil.Process().memory_info().rss - before
    store.wait()
    written = time.perf_counter() - started
    on_disk = size_of(folder / "step-00000001")
    print("| parameters | on disk | training stands still | written after | extra memory until then |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    print(
        f"| {millions:g} M | {on_disk / 1e6:.0f} MB | {stalled:.2f} s | {written:.2f} s | {extra / 1e6:.0f} MB |"
    )  # fmt: skip
    return 0
