"""One optimizer step: micro-batches forward and back, one update."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glotune.data.batches import Rows, shard
from glotune.data.packed import PackedBatch
from glotune.engine.forward import ahead
from glotune.engine.optimizer import RowDecay
from glotune.engine.parts import Parts
from glotune.engine.randomness import seed_micro_batch
from glotune.engine.schedule import Schedule
from glotune.model.cpu.packed_weights import packed_weights
from glotune.tasks.losses import as_tensor, summed_loss, total_weight


@dataclass(frozen=True)
class StepOutcome:
    """What one step did; figures over the whole effective batch of all ranks."""

    loss: float
    """Sum of weighted losses / sum of weights."""
    grad_norm: float
    learning_rate: float
    texts: int
    tokens: int
    confusion: NDArray[np.int64]
    """[C, C] of the training predictions, dropout on: ``confusion[true][predicted]``."""
    seconds: float
    wait_seconds: float
    """How long the step waited for its micro-batches."""

    @property
    def is_finite(self) -> bool:
        """Whether the update was made; a non-finite loss or gradient is refused."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


@dataclass
class StepTime:
    """By the clock: how long steps took, and how much of that they waited for their micro-batches."""

    seconds: float = 0.0
    waited: float = 0.0

    def add(self, seconds: float, waited: float) -> None:
        """Adds one step."""
        self.seconds += seconds
        self.waited += waited

    def figures(self) -> dict[str, float]:
        """``seconds`` and ``wait_share``, of an event's wall part."""
        share = self.waited / self.seconds if self.seconds > 0 else 0.0
        return {"seconds": round(self.seconds, 6), "wait_share": round(share, 6)}


@dataclass
class Stepper:
    """Runs optimizer steps; its only state beside the optimizer is the budget, which memory may halve."""

    parts: Parts
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    row_decay: RowDecay | None
    token_budget: int
    deviations: list[str] = field(default_factory=list)

    def run(self, batches: Iterator[tuple[int, Rows]]) -> Iterator[tuple[int, Rows, StepOutcome]]:
        """Steps over (step number, rows), reading the next step's micro-batches while this one computes."""
        loaded = ahead((step, rows, self._load(rows)) for step, rows in batches)
        started = time.perf_counter()
        for step, rows, micro_batches in loaded:
            waited = time.perf_counter() - started
            yield step, rows, self._step_within_memory(step, rows, micro_batches, started, waited)
            started = time.perf_counter()

    def _load(self, rows: Rows) -> list[PackedBatch]:
        processes = self.parts.processes
        own = shard(rows, self.parts.stores["train"].lengths, processes.rank, processes.ranks)
        return self.parts.micro_batches("train", own, self.token_budget)

    def _step_within_memory(
        self, step: int, rows: Rows, micro_batches: list[PackedBatch], started: float, waited: float
    ) -> StepOutcome:
        """The step; where memory runs out, the budget halves and the same effective batch is cut smaller."""
        while True:
            try:
                return self._step(step, rows, micro_batches, started, waited)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or all(len(micro) == 1 for micro in micro_batches):
                    raise
            self.token_budget //= 2
            self.deviations.append(f"step {step}: out of memory, token budget halved to {self.token_budget}")
            self.optimizer.zero_grad(set_to_none=True)
            if self.parts.device.type == "cuda":
                torch.cuda.empty_cache()
            micro_batches = self._load(rows)

    def _step(
        self, step: int, rows: Rows, micro_batches: list[PackedBatch], started: float, waited: float
    ) -> StepOutcome:
        parts = self.parts
        store = parts.stores["train"]
        weights_B = None if store.weights is None else store.weights[rows]
        denominator = total_weight(store.labels[rows], parts.class_weights, weights_B)
        parts.network.train()
        with packed_weights(parts.network) if len(micro_batches) > 1 else nullcontext():
            sums = self._accumulate(step, micro_batches, denominator)
        parts.processes.sum_gradients(parts.trainable.values())
        parts.processes.sum_(sums)
        # The step's only wait for the device: loss, confusion counts and gradient norm come over in one copy.
        loss, *counts, norm = torch.cat([sums, self._clip().to(sums).reshape(1)]).tolist()
        factor = self.schedule.factor(step)
        if math.isfinite(loss) and math.isfinite(norm):
            self._update(factor)
        self.optimizer.zero_grad(set_to_none=True)
        return StepOutcome(
            loss=loss,
            grad_norm=norm,
            learning_rate=self.schedule.learning_rate * factor,
            texts=len(rows),
            tokens=int(parts.stores["train"].lengths[rows].sum()),
            confusion=np.array(counts, dtype=np.int64).reshape(len(parts.labels), len(parts.labels)),
            seconds=time.perf_counter() - started,
            wait_seconds=waited,
        )

    def _accumulate(self, step: int, micro_batches: list[PackedBatch], denominator: float) -> Tensor:
        """Gradients of the whole (rank's) batch; returns [1 + C * C]: its part of the loss, and confusion counts."""
        parts = self.parts
        weights_C = as_tensor(parts.class_weights, parts.device)
        size = len(parts.labels)
        sums = torch.zeros(1 + size * size, dtype=torch.float64, device=parts.device)
        for number, micro_batch in enumerate(micro_batches):
            seed_micro_batch(parts.recipe.seed, step, number, parts.processes.rank)
            micro = micro_batch.to(parts.device)
            with parts.autocast():
                logits_BC = parts.network(micro)
            smoothing = parts.recipe.loss.label_smoothing
            summed = summed_loss(logits_BC, micro.labels, weights_C, smoothing, micro.weights)
            loss = summed / denominator
            loss.backward()
            sums[0] += loss.detach()
            cells = micro.labels * size + logits_BC.detach().argmax(dim=1)
            sums[1:] += torch.bincount(cells, minlength=size * size)
        return sums

    def _clip(self) -> Tensor:
        limit = self.parts.recipe.optimizer.max_grad_norm
        return torch.nn.utils.clip_grad_norm_(
            self.parts.trainable.values(), math.inf if limit is None else limit, foreach=True
        )

    def _update(self, factor: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_learning_rate"] * factor
        if self.row_decay is not None:
            self.row_decay.apply(factor)
        self.optimizer.step()


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: CUDA's error, Python's, or the message of torch's CPU allocator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
