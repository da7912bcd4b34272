"""Labels, and a teacher's answers beside them: a student's task (Hinton et al. 2015, arXiv:1503.02531).

The loss of an effective batch is ``w * soft + (1 - w) * hard``. Soft is the mean over all its texts of what
`glotune.tasks.soft_targets` says of a text; hard is the loss of the task itself over the texts that have a label. Both
denominators follow from the rows alone, so the host knows them before the first forward pass (C2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glotune.data.batches import PackedBatch, Rows
from glotune.data.tokenization import TokenStore
from glotune.run.records import Decision, Evaluation
from glotune.tasks.single_label import SingleLabel
from glotune.tasks.soft_targets import SoftTargets, TeacherOutputs, asked
from glotune.tasks.targets import TargetTask
from glotune.tasks.task import Answers, Choice, Judgement, Metrics, Part, Pass


class Hard(Protocol):
    """The loss of the labels, of one effective batch."""

    def dress(self, batch: PackedBatch) -> PackedBatch:
        """A micro-batch with its labels and weights."""
        ...

    def of(self, outputs_BL: Tensor, batch: PackedBatch) -> Part:
        """What these answers to a dressed micro-batch come to."""
        ...


@dataclass(frozen=True)
class Distillation:
    """The task of a student: training is its own, everything that judges it is that of the task without a teacher."""

    learner: SingleLabel | TargetTask
    """Over the labelled texts alone: weights, choice, scores and records."""
    train: TokenStore
    """The labelled texts, then those without a label."""
    teachers: Sequence[TeacherOutputs]
    soft: SoftTargets
    weight: float
    """Of the soft loss, 0 to 1."""

    # ---- training -------------------------------------------------------------------------------------

    @property
    def drawn(self) -> int:
        """All training texts, with a label and without."""
        return len(self.train)

    @property
    def num_sums(self) -> int:
        """The learner's, of the texts that have a label."""
        return self.learner.num_sums

    @property
    def may_be_filled(self) -> bool:
        """A text without a label, a teacher and a weight counts for nothing."""
        return True

    def objective(self, step: int, rows: Rows) -> SoftAndHard:
        """The loss of these texts; nothing in it is drawn by chance."""
        total = float(self.weights(rows).sum(dtype=np.float64))
        return SoftAndHard(self, rows, self.learner.loss_of(self.train, rows), total)

    def weights(self, rows: Rows) -> NDArray[np.float32]:
        """[B] how much each of these training texts counts."""
        weights_N = self.train.weights
        return np.ones(len(rows), np.float32) if weights_N is None else np.asarray(weights_N[rows])

    def epoch_metrics(self, sums: Sequence[float]) -> Mapping[str, float]:
        """As the learner's, of the texts that have a label."""
        return self.learner.epoch_metrics(sums)

    def excerpts(self, rows: Rows) -> list[str]:
        """As the learner's."""
        return self.learner.excerpts(rows)

    # ---- evaluation: the learner's --------------------------------------------------------------------

    @property
    def choice(self) -> Choice:
        """As the recipe says."""
        return self.learner.choice

    @property
    def decision(self) -> Decision | None:
        """As the learner's."""
        return self.learner.decision

    def passes(self, split: str) -> Sequence[Pass]:
        """One: outputs, and each text's own loss against its label."""
        return self.learner.passes(split)

    def scores(self, split: str, answers: Answers) -> Mapping[str, Metrics]:
        """By language."""
        return self.learner.scores(split, answers)

    def judge(self, answers: Answers) -> Judgement:
        """Of the validation texts."""
        return self.learner.judge(answers)

    def record(self, folder: Path, split: str, answers: Answers) -> list[Evaluation]:
        """One record per prediction."""
        return self.learner.record(folder, split, answers)


@dataclass(frozen=True)
class SoftAndHard:
    """The loss of one effective batch."""

    task: Distillation
    rows: Rows
    hard: Hard
    soft_denominator: float
    """Sum of the row weights of all texts."""
    across: None = None

    def dress(self, batch: PackedBatch) -> PackedBatch:
        """Adds labels, what the teachers ask for, and how much each text counts in that."""
        task, dressed = self.task, self.hard.dress(batch)
        soft = {
            "teacher": asked(task.teachers, task.soft, batch.rows),
            "taught": torch.from_numpy(task.weights(batch.rows)),
        }
        return replace(dressed, targets={**dressed.targets, **soft})

    def part(self, network: Any, batch: PackedBatch) -> Part:
        """Its share of both losses; how the texts with a label are answered, as sums."""
        outputs_BL, weight = network(batch), self.task.weight
        hard = self.hard.of(outputs_BL, batch)
        soft_B = self.task.soft.losses(outputs_BL, batch.targets["teacher"]) * batch.targets["taught"]
        return replace(hard, loss=weight * soft_B.sum() / self.soft_denominator + (1.0 - weight) * hard.loss)

    def details(self, sums: Sequence[float]) -> None:
        """The loss is all there is."""
