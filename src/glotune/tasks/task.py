"""What a task is to the engine: everything that the engine must not know by name.

The engine shuffles, cuts and shards batches, seeds, runs forward and backward, updates, evaluates, checkpoints and
stops. What is learned from a text, and what a good answer is, it asks a `Task`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glotune.data.batches import PackedBatch, Rows
from glotune.run.records import Decision, Evaluation

Answers = Sequence[NDArray[np.float64]]
"""For each pass over a split, [N, K]: what the network said of each of its texts, in the order of the split."""
Metrics = Mapping[str, float | int | None]
"""What an evaluation event says of one language: ``n``, and metrics by their names; None where one is undefined."""


def sums_dtype(device: torch.device) -> torch.dtype:
    """What sums over a step are kept in: float64 on the host. Accelerators have it slowly (consumer GPUs: a 64th of
    fp32's rate) or not at all (MPS); counts up to 2^24 are exact in float32, and the host adds up the steps."""
    return torch.float64 if device.type == "cpu" else torch.float32


def counted(cells: Tensor, size: int) -> Tensor:
    """[size] of `sums_dtype`: how often each number from 0 to size - 1 stands in `cells` [B] int64.

    ``torch.bincount`` would wait for the device twice, to learn how far the numbers go.
    """
    zeros = torch.zeros(size, dtype=sums_dtype(cells.device), device=cells.device)
    return zeros.scatter_add_(0, cells, torch.ones_like(cells, dtype=zeros.dtype))


@dataclass(frozen=True)
class Part:
    """What one micro-batch gives."""

    loss: Tensor
    """Scalar: its share of the effective batch's loss, so that the shares only need adding up."""
    sums: Tensor
    """[S] of `sums_dtype`, detached: numbers that add up over micro-batches, ranks and the steps of an epoch."""
    vectors: tuple[Tensor, ...] = ()
    """[B, H] each: what a loss over the whole batch looks at; none where no loss does."""


Across = Callable[[Sequence[tuple[Tensor, ...]], Rows], Part]
"""(vectors of each micro-batch, which texts they are, in the same order) -> loss and sums."""


class Objective(Protocol):
    """One effective batch, made on the host before its first forward pass: denominators are known from here on."""

    @property
    def rows(self) -> Rows:
        """The texts of the training store that are run: those that were drawn, and what comes along with them."""
        ...

    def dress(self, batch: PackedBatch) -> PackedBatch:
        """A micro-batch of these texts with its targets (and its inputs changed, where the task changes them)."""
        ...

    def part(self, network: Any, batch: PackedBatch) -> Part:
        """Forward pass and loss of a dressed micro-batch, on its device; called under autocast, with dropout on."""
        ...

    @property
    def across(self) -> Across | None:
        """A loss over the vectors of the whole effective batch, beside the shares of its micro-batches; None: none."""
        ...

    def details(self, sums: Sequence[float]) -> Mapping[str, float] | None:
        """What the step's ``objectives`` event says, given all sums of the batch; None: no such event."""
        ...


class Pass(Protocol):
    """One sweep over a split in evaluation mode."""

    @property
    def width(self) -> int:
        """K, numbers kept of each text."""
        ...

    def dress(self, batch: PackedBatch) -> PackedBatch:
        """A micro-batch of the split with what `answer` needs beside the texts."""
        ...

    def answer(self, network: Any, batch: PackedBatch) -> Tensor:
        """[B, K]; called under autocast, without gradients."""
        ...


@dataclass(frozen=True)
class Choice:
    """What chooses the checkpoint."""

    metric: str
    on: str
    """Which texts it is taken over, in a word: ``source``, ``target``, ``held_out``."""
    higher_is_better: bool


@dataclass(frozen=True)
class Judgement:
    """What an evaluation of the validation split comes to."""

    metrics: Mapping[str, Metrics]
    """By language."""
    value: float
    """Of the task's `Choice`."""
    summary: str
    """For the log's line."""
    alarm: str | None = None
    """Why training is going wrong; None where it isn't."""


class Task(Protocol):
    """What is learned, and what it is judged by."""

    @property
    def choice(self) -> Choice: ...

    @property
    def drawn(self) -> int:
        """Number of texts of the training store, from its first, that an epoch goes through."""
        ...

    @property
    def num_sums(self) -> int:
        """S, see `Part.sums`."""
        ...

    @property
    def may_be_filled(self) -> bool:
        """Whether texts whose targets are 0, and class ids `NO_LABEL`, count for nothing: see `filled`."""
        ...

    def objective(self, step: int, rows: Rows) -> Objective:
        """The effective batch of these texts: a function of (seed, step, texts) alone."""
        ...

    def epoch_metrics(self, sums: Sequence[float]) -> Mapping[str, float]:
        """What the epoch's event says of the sums over its steps, beside the loss."""
        ...

    @property
    def decision(self) -> Decision | None:
        """How outputs become answers, as the last answers to the validation texts have it; None: nothing is fitted."""
        ...

    def passes(self, split: str) -> Sequence[Pass]:
        """The sweeps that an evaluation of this split takes."""
        ...

    def scores(self, split: str, answers: Answers) -> Mapping[str, Metrics]:
        """By language.

        Raises:
            RunError: the network's answers are not finite.
        """
        ...

    def judge(self, answers: Answers) -> Judgement:
        """Of the validation split; raises as `scores` does."""
        ...

    def record(self, folder: Path, split: str, answers: Answers) -> list[Evaluation]:
        """Scores with their intervals, for ``metrics.json``; what they follow from is written into `folder`."""
        ...

    def excerpts(self, rows: Rows) -> list[str]:
        """How the first of these training texts begin, for a diagnosis; none where records hold no text."""
        ...
