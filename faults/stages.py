"""What a run is doing at this moment, told by the run itself through memory that outlives it.

Every function that stands for a stage is wrapped once, in the parent. A child marks the stage while it is inside; what
the marks say after a kill -9 is what the kill interrupted.
"""

from __future__ import annotations

import functools
import mmap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import glotune.data.cache
import glotune.engine.finish
import glotune.engine.loop
import glotune.verbs.resume
import glotune.verbs.train
from glotune.data.given_rows import GivenRows
from glotune.engine.checkpoints import CheckpointStore
from glotune.engine.step import Stepper

STAGES = (
    "filling the token cache",
    "filling the prefix cache",
    "writing a checkpoint",
    "saving the model",
    "final evaluation",
    "evaluating",
    "training step",
    "loading the encoder",
    "reading the texts",
)
"""Most telling first: a checkpoint is written while training goes on."""
CACHES = STAGES[:2]
OTHERWISE = "between these"
_CELL = np.dtype([("inside", np.int64), ("entries", np.int64), ("entered", np.float64), ("seconds", np.float64)])


@dataclass
class Board:
    """Marks in memory that parent and children share."""

    memory: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, _CELL.itemsize * len(STAGES)))
    on_entry: Callable[[str], None] = lambda stage: None
    """Called by the child whenever it enters a stage."""

    def __post_init__(self) -> None:
        self.cells: Any = np.frombuffer(self.memory, dtype=_CELL)

    def clear(self) -> None:
        """Before a child starts."""
        self.memory[:] = bytes(len(self.memory))

    @contextmanager
    def inside(self, stage: str) -> Iterator[None]:
        """Marks a stage while the block runs."""
        cell, started = self.cells[STAGES.index(stage)], time.monotonic()
        cell["entries"] += 1
        cell["inside"] += 1
        cell["entered"] = started
        try:
            self.on_entry(stage)
            yield
        finally:
            cell["inside"] -= 1
            cell["seconds"] += time.monotonic() - started

    def now(self) -> str:
        """The stage that the child is in, or was killed in."""
        return next((name for name, cell in zip(STAGES, self.cells, strict=True) if cell["inside"]), OTHERWISE)

    def entries(self, stage: str) -> int:
        """How often the child entered a stage."""
        return int(self.cells[STAGES.index(stage)]["entries"])

    def entered(self, stage: str) -> float:
        """When it was entered last, on this machine's monotonic clock."""
        return float(self.cells[STAGES.index(stage)]["entered"])

    def seconds(self) -> dict[str, tuple[int, float]]:
        """Stage -> (entries, mean seconds) of a child that has ended."""
        return {
            name: (int(cell["entries"]), float(cell["seconds"]) / int(cell["entries"]))
            for name, cell in zip(STAGES, self.cells, strict=True)
            if cell["entries"]
        }


def watch(board: Board) -> None:
    """Wraps the functions that stand for the stages; for the life of this process and its children."""

    def wrap(owner: Any, name: str, stage: str) -> None:
        inner = getattr(owner, name)

        @functools.wraps(inner)
        def marked(*arguments: Any, **keywords: Any) -> Any:
            with board.inside(stage):
                return inner(*arguments, **keywords)

        setattr(owner, name, marked)

    wrap(GivenRows, "read", "reading the texts")
    wrap(glotune.verbs.resume, "read_again", "reading the texts")
    wrap(glotune.verbs.train, "assemble", "loading the encoder")
    wrap(glotune.verbs.train, "record_best", "final evaluation")
    wrap(glotune.engine.loop, "evaluate", "evaluating")
    wrap(glotune.engine.finish, "save_model", "saving the model")
    wrap(glotune.engine.finish, "save_adapter", "saving the model")
    wrap(Stepper, "_step", "training step")
    wrap(CheckpointStore, "_write_tensors", "writing a checkpoint")
    wrap(CheckpointStore, "_complete", "writing a checkpoint")
    _wrap_cache(board)


def _wrap_cache(board: Board) -> None:
    inner: Callable[..., Any] = glotune.data.cache._build_aside

    def marked(cache: Any, entry: Any, key: str, build: Any) -> Any:
        with board.inside(CACHES[1] if key.startswith("prefix-") else CACHES[0]):
            return inner(cache, entry, key, build)

    glotune.data.cache._build_aside = marked
