"""One optimizer step: micro-batches forward and back, one update.

Its randomness is a function of (seed, step, micro-batch, rank), never of hidden generator state: a resumed run draws
the same dropout masks as an uninterrupted one because nothing has to be remembered (C6).
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from glotune.data.batches import PackedBatch, Rows, sent, shard
from glotune.engine.accelerator import give_back, out_of_memory
from glotune.engine.adversary import adversarial_passes
from glotune.engine.forward import ahead, on_host
from glotune.engine.gradient_sum import GradientSum
from glotune.engine.optimizer import LossScale, RowDecay, Schedule
from glotune.engine.parts import Parts
from glotune.model.cpu.packed_weights import packed_weights
from glotune.tasks.task import Across, Objective, Part, sums_dtype

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
    overflowed: bool = False
    """Gradients in fp16 were too large for its range: no update, and the loss is scaled less from here on."""
    asked_to_stop: bool = False
    """Whether any rank was, when it began to add up the step; told along with the step's own sums."""

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


@dataclass(frozen=True)
class Prepared:
    """A step's texts on the host, read ahead."""

    step: int
    rows: Rows
    objective: Objective
    micro_batches: list[PackedBatch]
    token_budget: int
    """That they were cut under: memory may have halved it since."""


@dataclass
class Stepper:
    """Runs optimizer steps; its only state beside the optimizer is the budget, which memory may halve, and in fp16 the
    scale of the loss."""

    parts: Parts
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    row_decay: RowDecay | None
    token_budget: int
    stop_requested: Callable[[], bool] = lambda: False
    """Of this rank; told to the others with each step's sums."""
    loss_scale: LossScale | None = None
    """In fp16; None: the loss is as it is."""
    deviations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._gradients = GradientSum(self.parts.processes, self.parts.trainable.values())

    def run(self, batches: Iterator[tuple[int, Rows]]) -> Iterator[tuple[int, Rows, StepOutcome]]:
        """Steps over (step number, rows), reading the next step's micro-batches while this one computes."""
        prepared = ahead(self._prepared(step, rows) for step, rows in batches)
        started = time.perf_counter()
        for each in prepared:
            waited = time.perf_counter() - started
            yield each.step, each.rows, self._step(each, started, waited)
            started = time.perf_counter()

    def _prepared(self, step: int, rows: Rows) -> Prepared:
        objective, budget = self.parts.task.objective(step, rows), self.token_budget
        return Prepared(step, rows, objective, self._load(objective, step), budget)

    def _load(self, objective: Objective, step: int = 0) -> list[PackedBatch]:
        """This rank's part of an effective batch, cut under the budget."""
        processes, texts = self.parts.processes, self.parts.texts_of(step)
        own = shard(objective.rows, texts.lengths, processes.rank, processes.ranks)
        cut = list(self.parts.micro_batches("train", own, self.token_budget, objective.dress, texts))
        if self.parts.graphs is not None:
            cut = list(map(self.parts.graphs.filled, cut))
        # A GPU's allocator keeps what it once took: the blocks of the longest texts serve all shorter ones after them.
        return cut[::-1] if self.parts.device.type == "cuda" else cut

    def _step(self, prepared: Prepared, started: float, waited: float) -> StepOutcome:
        parts, objective, step = self.parts, prepared.objective, prepared.step
        parts.network.train()
        sums = self._within_memory(prepared)
        # Summed, not averaged: the loss was divided by the denominator of the whole batch, over all ranks, already.
        sums = self._gradients.finish(torch.cat([sums, self._told(sums)]))
        if self.loss_scale is not None:
            self.loss_scale.divide(parts.trainable.values())
        # The step's only wait for the device: loss, the task's sums and the gradient norm come over in one copy.
        loss, *own, norm = on_host(torch.cat([sums, self._clip().to(sums).reshape(1)])).tolist()
        own, asked_to_stop = self._heard(own)
        factor = self.schedule.factor(step)
        overflowed = self.loss_scale is not None and self.loss_scale.overflows(loss, norm)
        # AdamW's moments would keep a NaN for ever: such a step makes no update, whatever the recipe says of the run.
        if math.isfinite(loss) and math.isfinite(norm):
            self._update(factor)
        self.optimizer.zero_grad(set_to_none=True)
        return StepOutcome(
            loss=loss,
            grad_norm=norm,
            learning_rate=self.schedule.learning_rate * factor,
            texts=len(objective.rows),
            tokens=int(parts.texts_of(step).lengths[objective.rows].sum()),
            sums=own,
            details=objective.details(own),
            seconds=time.perf_counter() - started,
            wait_seconds=waited,
            overflowed=overflowed,
            asked_to_stop=asked_to_stop,
        )

    def _told(self, sums: Tensor) -> Tensor:
        """What this rank tells the others beside its sums: whether it was asked to stop, and its budget in its place.

        [1 + ranks], so that a sum over the ranks keeps them apart; nothing where there is only one.
        """
        processes = self.parts.processes
        if processes.ranks == 1:
            return sums[:0]
        budgets = [0.0] * processes.ranks
        budgets[processes.rank] = self.token_budget
        return sent(torch.tensor([float(self.stop_requested()), *budgets], dtype=sums.dtype), sums.device)

    def _heard(self, sums: list[float]) -> tuple[list[float], bool]:
        """(the task's sums, whether any rank was asked to stop); all go on under the least of their budgets."""
        ranks = self.parts.processes.ranks
        if ranks == 1:
            return sums, self.stop_requested()
        own, (stop, *budgets) = sums[: -1 - ranks], sums[-1 - ranks :]
        if (least := int(min(budgets))) < self.token_budget:
            self.token_budget = least
            self.deviations.append(f"another rank ran out of memory: token budget lowered to {least}")
        return own, stop > 0

    def _within_memory(self, prepared: Prepared) -> Tensor:
        """The gradients and sums of the batch; where memory runs out, the budget halves and it is cut smaller.

        Nothing but gradients changes in here, and no other rank is waited for: it can be done again.
        """
        self._gradients.begin()
        micro_batches = prepared.micro_batches
        if prepared.token_budget > self.token_budget:
            micro_batches = self._load(prepared.objective, prepared.step)
        while True:
            try:
                with self._weights(micro_batches):
                    return self._accumulate(prepared.step, prepared.objective, micro_batches)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or not self._can_do_with_less(prepared.step, micro_batches):
                    raise
            # The same effective batch again from its start, cut smaller: the update does not depend on the cut (C2).
            self.optimizer.zero_grad(set_to_none=True)
            give_back(self.parts.device)
            micro_batches = self._load(prepared.objective, prepared.step)

    def _can_do_with_less(self, step: int, micro_batches: list[PackedBatch]) -> bool:
        """Halves the budget; where every text runs alone already, the activations are computed twice instead."""
        if any(len(micro.rows) > 1 for micro in micro_batches):
            self.token_budget //= 2
            self.deviations.append(f"step {step}: out of memory, token budget halved to {self.token_budget}")
            return True
        if self.parts.network.checkpoint_activations():
            self.deviations.append(f"step {step}: out of memory, activations are computed twice from here on")
            return True
        return False

    def _weights(self, micro_batches: list[PackedBatch]) -> AbstractContextManager[None]:
        return packed_weights(self.parts.network) if len(micro_batches) > 1 else nullcontext()

    def _accumulate(self, step: int, objective: Objective, micro_batches: list[PackedBatch]) -> Tensor:
        """Gradients of the whole (rank's) batch; returns [1 + S]: its part of the loss, and the task's sums."""
        run = partial(self._part, step, objective)
        if objective.across is None:
            sums = self._no_sums()
            for number, micro in enumerate(micro_batches):
                # Of several passes over a micro-batch none is known to be the last before it was made.
                is_last = number == len(micro_batches) - 1 and self.parts.settings.adversarial is None
                for place, (part, share) in enumerate(self._passes(partial(run, number), micro)):
                    with self._gradients.going_back(is_last=is_last):
                        self._backward(part.loss if share == 1.0 else part.loss * share)
                    if place == 0:  # of the texts as they are: losses stay comparable with those of other runs
                        _add(sums, part)
            return sums
        # Activations are held until the loss over the whole batch is known, where they fit.
        if sum(micro.num_tokens for micro in micro_batches) <= self.parts.tokens_held(self.token_budget):
            return self._in_one_pass(objective.across, micro_batches, run)
        return self._in_two_passes(objective.across, micro_batches, run)

    def _passes(self, run: Callable[[PackedBatch], Part], micro: PackedBatch) -> Iterator[tuple[Part, float]]:
        """The passes over a micro-batch, and how much of each one's gradient counts; each is carried back before the
        next one is made."""
        spec = self.parts.settings.adversarial
        if spec is None:
            yield run(micro), 1.0
        else:
            yield from adversarial_passes(spec, run, self.parts.noisy(micro.to(self.parts.device)), self._scaled)

    def _no_sums(self) -> Tensor:
        device = self.parts.device
        return torch.zeros(1 + self.parts.task.num_sums, dtype=sums_dtype(device), device=device)

    def _backward(self, loss: Tensor) -> None:
        self._scaled(loss).backward()

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self.loss_scale is None else loss * self.loss_scale.factor

    def _part(self, step: int, objective: Objective, number: int, micro: PackedBatch) -> Part:
        """The forward pass of the micro-batch of a number: the same dropout whenever it runs."""
        parts = self.parts
        seed_micro_batch(parts.settings.seed, step, number, parts.processes.rank)
        batch = micro.to(parts.device)
        with parts.autocast():
            return objective.part(parts.graphs or parts.network, batch)

    def _in_one_pass(self, across: Across, micro_batches: list[PackedBatch], run: Run) -> Tensor:
        found = [run(number, micro) for number, micro in enumerate(micro_batches)]
        own = torch.stack([part.loss for part in found]).sum()
        whole = across([part.vectors for part in found], _rows(micro_batches))
        total = whole.loss + own
        self._backward(total)
        sums = sum((part.sums for part in found), whole.sums)
        return torch.cat([total.detach().to(sums).reshape(1), sums])

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
            self._backward(part.loss + torch.stack(carried).sum() if carried else part.loss)
            _add(sums, part)
        _add(sums, whole)
        return sums

    def _clip(self) -> Tensor:
        limit = self.parts.settings.optimizer.max_grad_norm
        return torch.nn.utils.clip_grad_norm_(self.parts.trainable.values(), math.inf if limit is None else limit)

    def _update(self, factor: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_learning_rate"] * factor
        if self.row_decay is not None:
            self.row_decay.apply(factor)
        self.optimizer.step()


def _add(sums: Tensor, part: Part) -> None:
    sums[0] += part.loss.detach()
    sums[1:] += part.sums


def _rows(micro_batches: list[PackedBatch]) -> Rows:
    return np.concatenate([micro.rows for micro in micro_batches])
