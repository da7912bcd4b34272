"""One optimizer step: micro-batches forward and back, one update.

Its randomness is a function of (seed, step, micro-batch, rank), never of hidden generator state: a resumed run draws
the same dropout masks as an uninterrupted one because nothing has to be remembered (C6).
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from glotune.data.batches import PackedBatch, Rows, shard
from glotune.engine.forward import ahead
from glotune.engine.optimizer import RowDecay, Schedule
from glotune.engine.parts import Parts
from glotune.model.cpu.packed_weights import packed_weights
from glotune.tasks.task import Across, Objective, Part

INITIALISATION = 0
"""Stream for fresh weights (head, adapters)."""
TRAINING = 1
"""Stream for dropout."""
Run = Callable[[int, PackedBatch], Part]
"""The forward pass of a micro-batch, by its number."""


def _mixed(*numbers: int) -> int:
    """One 63-bit seed from several numbers, well mixed (numpy's SeedSequence)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def own_randomness() -> Iterator[None]:
    """Leaves the caller's generators as they were: whoever draws around a run goes on as if it had not been."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def seed_initialisation(seed: int) -> None:
    """Seeds every generator before fresh weights are drawn."""
    mixed = _mixed(seed, INITIALISATION)
    random.seed(mixed)
    np.random.seed(mixed % 2**32)
    torch.manual_seed(mixed)


def seed_micro_batch(seed: int, step: int, micro_batch: int, rank: int) -> None:
    """Seeds torch before the forward pass of one micro-batch."""
    torch.manual_seed(_mixed(seed, TRAINING, step, micro_batch, rank))


@dataclass(frozen=True)
class StepOutcome:
    """What one step did; metrics over the whole effective batch of all ranks."""

    loss: float
    grad_norm: float
    learning_rate: float
    texts: int
    tokens: int
    sums: list[float]
    """The task's, see `glotune.tasks.task.Part`."""
    details: Mapping[str, float] | None
    """See `glotune.tasks.task.Objective.details`."""
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

    def wall(self) -> dict[str, float]:
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
        prepared = ahead(self._prepared(step, rows) for step, rows in batches)
        started = time.perf_counter()
        for step, rows, objective, micro_batches in prepared:
            waited = time.perf_counter() - started
            yield step, rows, self._step_within_memory(step, objective, micro_batches, started, waited)
            started = time.perf_counter()

    def _prepared(self, step: int, rows: Rows) -> tuple[int, Rows, Objective, list[PackedBatch]]:
        objective = self.parts.task.objective(step, rows)
        return step, rows, objective, self._load(objective)

    def _load(self, objective: Objective) -> list[PackedBatch]:
        """This rank's part of an effective batch, cut under the budget."""
        processes, lengths = self.parts.processes, self.parts.stores["train"].lengths
        own = shard(objective.rows, lengths, processes.rank, processes.ranks)
        return list(self.parts.micro_batches("train", own, self.token_budget, objective.dress))

    def _step_within_memory(
        self, step: int, objective: Objective, micro_batches: list[PackedBatch], started: float, waited: float
    ) -> StepOutcome:
        """The step; where memory runs out, the budget halves and the same effective batch is cut smaller."""
        while True:
            try:
                return self._step(step, objective, micro_batches, started, waited)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or all(len(micro) == 1 for micro in micro_batches):
                    raise
            # The same effective batch again from its start, cut smaller: the update does not depend on the cut (C2).
            self.token_budget //= 2
            self.deviations.append(f"step {step}: out of memory, token budget halved to {self.token_budget}")
            self.optimizer.zero_grad(set_to_none=True)
            if self.parts.device.type == "cuda":
                torch.cuda.empty_cache()
            micro_batches = self._load(objective)

    def _step(
        self, step: int, objective: Objective, micro_batches: list[PackedBatch], started: float, waited: float
    ) -> StepOutcome:
        parts = self.parts
        parts.network.train()
        with packed_weights(parts.network) if len(micro_batches) > 1 else nullcontext():
            sums = self._accumulate(step, objective, micro_batches)
        # Summed, not averaged: the loss was divided by the denominator of the whole batch, over all ranks, already.
        parts.processes.sum_gradients(parts.trainable.values())
        parts.processes.sum_(sums)
        # The step's only wait for the device: loss, the task's sums and the gradient norm come over in one copy.
        loss, *own, norm = torch.cat([sums, self._clip().to(sums).reshape(1)]).tolist()
        factor = self.schedule.factor(step)
        # AdamW's moments would keep a NaN for ever: such a step makes no update, whatever the recipe says of the run.
        if math.isfinite(loss) and math.isfinite(norm):
            self._update(factor)
        self.optimizer.zero_grad(set_to_none=True)
        return StepOutcome(
            loss=loss,
            grad_norm=norm,
            learning_rate=self.schedule.learning_rate * factor,
            texts=len(objective.rows),
            tokens=int(parts.stores["train"].lengths[objective.rows].sum()),
            sums=own,
            details=objective.details(own),
            seconds=time.perf_counter() - started,
            wait_seconds=waited,
        )

    def _accumulate(self, step: int, objective: Objective, micro_batches: list[PackedBatch]) -> Tensor:
        """Gradients of the whole (rank's) batch; returns [1 + S]: its part of the loss, and the task's sums."""
        run = partial(self._part, step, objective)
        if objective.across is None:
            sums = self._no_sums()
            for number, micro in enumerate(micro_batches):
                part = run(number, micro)
                part.loss.backward()
                _add(sums, part)
            return sums
        # Activations are held until the loss over the whole batch is known, where they fit.
        if sum(micro.num_tokens for micro in micro_batches) <= self.parts.tokens_held(self.token_budget):
            return self._in_one_pass(objective.across, micro_batches, run)
        return self._in_two_passes(objective.across, micro_batches, run)

    def _no_sums(self) -> Tensor:
        return torch.zeros(1 + self.parts.task.num_sums, dtype=torch.float64, device=self.parts.device)

    def _part(self, step: int, objective: Objective, number: int, micro: PackedBatch) -> Part:
        """The forward pass of the micro-batch of a number: the same dropout whenever it runs."""
        parts = self.parts
        seed_micro_batch(parts.settings.seed, step, number, parts.processes.rank)
        batch = micro.to(parts.device)
        with parts.autocast():
            return objective.part(parts.network, batch)

    def _in_one_pass(self, across: Across, micro_batches: list[PackedBatch], run: Run) -> Tensor:
        found = [run(number, micro) for number, micro in enumerate(micro_batches)]
        own = torch.stack([part.loss for part in found]).sum()
        whole = across([part.vectors for part in found], _rows(micro_batches))
        total = whole.loss + own
        total.backward()
        return torch.cat([total.detach().double().reshape(1), sum((part.sums for part in found), whole.sums)])

    def _in_two_passes(self, across: Across, micro_batches: list[PackedBatch], run: Run) -> Tensor:
        """The same update with one micro-batch's activations at a time.

        The vectors are computed first, then their gradients; then each micro-batch runs again, with the same dropout,
        and carries its part back (Gao et al. 2021, "Scaling deep contrastive learning batch size", arXiv:2101.06983).
        """
        with torch.no_grad():
            first = [run(number, micro).vectors for number, micro in enumerate(micro_batches)]
        leaves = [tuple(vector.detach().requires_grad_() for vector in vectors) for vectors in first]
        whole = across(leaves, _rows(micro_batches))
        whole.loss.backward()
        sums = self._no_sums()
        for number, (micro, leaf) in enumerate(zip(micro_batches, leaves, strict=True)):
            part = run(number, micro)
            pairs = zip(part.vectors, leaf, strict=True)
            carried = [(vector * known.grad).sum() for vector, known in pairs if known.grad is not None]
            (part.loss + torch.stack(carried).sum() if carried else part.loss).backward()
            _add(sums, part)
        _add(sums, whole)
        return sums

    def _clip(self) -> Tensor:
        limit = self.parts.settings.optimizer.max_grad_norm
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


def _add(sums: Tensor, part: Part) -> None:
    sums[0] += part.loss.detach()
    sums[1:] += part.sums


def _rows(micro_batches: list[PackedBatch]) -> Rows:
    return np.concatenate([micro.rows for micro in micro_batches])
