"""One label for each text, and a teacher's answers beside it: soft targets (Hinton et al. 2015, arXiv:1503.02531).

The loss of an effective batch is ``w * soft + (1 - w) * hard``. Soft is the mean over all its texts of
``T^2 * KL(teacher || student)``, both at temperature T; T^2 keeps its gradients as large as those of the labels
(section 2). Hard is the weighted mean of `glotune.tasks.single_label` over the texts that have a label. Both
denominators follow from the rows alone, so the host knows them before the first forward pass (C2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glotune.data.batches import PackedBatch, Rows
from glotune.data.tokenization import TokenStore
from glotune.run.records import Decision, Evaluation
from glotune.stats.arrays import softmax
from glotune.tasks.single_label import LogitsAndLosses, SingleLabel, with_labels
from glotune.tasks.task import Answers, Choice, Judgement, Metrics, Part, counted


@dataclass(frozen=True)
class TeacherLogits:
    """What one teacher says of the N training texts."""

    logits_NC: NDArray[np.float32]
    """Memory-mapped, columns in the teacher's own order of labels."""
    columns_C: NDArray[np.int64]
    """For each class id of the run the teacher's column."""

    def probabilities(self, rows: Rows, temperature: float) -> NDArray[np.float64]:
        """[B, C] float64, at a temperature."""
        return softmax(self.logits_NC[rows][:, self.columns_C].astype(np.float64) / temperature, in_place=True)


def soft_targets(teachers: Sequence[TeacherLogits], rows: Rows, temperature: float) -> Tensor:
    """[B, C] float32: the mean of the teachers' probabilities at a temperature."""
    found = np.mean([each.probabilities(rows, temperature) for each in teachers], axis=0)
    return torch.from_numpy(found.astype(np.float32))


def soft_losses(logits_BC: Tensor, targets_BC: Tensor, temperature: float) -> Tensor:
    """[B] fp32: T^2 times the divergence of the student from its targets, in nats at temperature T; 0 where equal.

    Its gradient is that of the cross-entropy with soft targets: the targets' entropy is a constant.
    """
    student = functional.log_softmax(logits_BC.float() / temperature, dim=1)
    return temperature**2 * functional.kl_div(student, targets_BC, reduction="none").sum(dim=1)


@dataclass(frozen=True)
class Distillation:
    """The task of a student: training is its own, everything that judges it is the classifier's."""

    classifier: SingleLabel
    """Over the labelled texts alone: class weights, choice, scores and records."""
    train: TokenStore
    """The labelled texts, then those without a label."""
    teachers: Sequence[TeacherLogits]
    temperature: float
    weight: float
    """Of the soft loss, 0 to 1."""

    # ---- training -------------------------------------------------------------------------------------

    @property
    def drawn(self) -> int:
        """All training texts, with a label and without."""
        return len(self.train)

    @property
    def num_sums(self) -> int:
        """The cells of a confusion matrix, of the texts that have a label."""
        return self.classifier.num_sums

    @property
    def may_be_filled(self) -> bool:
        """A text without a label and a teacher counts for nothing."""
        return True

    def objective(self, step: int, rows: Rows) -> SoftAndHard:
        """The loss of these texts; nothing in it is drawn by chance."""
        store = self.train
        weights_B = np.ones(len(rows), np.float32) if store.weights is None else store.weights[rows]
        hard = self.classifier.total_weight(store, rows[store.labels[rows] >= 0])
        return SoftAndHard(self, rows, float(weights_B.sum(dtype=np.float64)), hard)

    def epoch_metrics(self, sums: Sequence[float]) -> Mapping[str, float]:
        """As the classifier's, of the texts that have a label."""
        return self.classifier.epoch_metrics(sums)

    def excerpts(self, rows: Rows) -> list[str]:
        """As the classifier's."""
        return self.classifier.excerpts(rows)

    # ---- evaluation: the classifier's -----------------------------------------------------------------

    @property
    def choice(self) -> Choice:
        """As the recipe says."""
        return self.classifier.choice

    @property
    def decision(self) -> Decision | None:
        """As the classifier's."""
        return self.classifier.decision

    def passes(self, split: str) -> list[LogitsAndLosses]:
        """One: logits, and each text's own loss against its label."""
        return self.classifier.passes(split)

    def scores(self, split: str, answers: Answers) -> Mapping[str, Metrics]:
        """By language."""
        return self.classifier.scores(split, answers)

    def judge(self, answers: Answers) -> Judgement:
        """Of the validation texts."""
        return self.classifier.judge(answers)

    def record(self, folder: Path, split: str, answers: Answers) -> list[Evaluation]:
        """One record per prediction."""
        return self.classifier.record(folder, split, answers)


@dataclass(frozen=True)
class SoftAndHard:
    """The loss of one effective batch."""

    task: Distillation
    rows: Rows
    soft_denominator: float
    """Sum of the row weights of all texts."""
    hard_denominator: float
    """Sum of row times class weights of the texts that have a label; 0 where none has one."""
    across: None = None

    def dress(self, batch: PackedBatch) -> PackedBatch:
        """Adds labels, weights and the teachers' probabilities."""
        task = self.task
        labelled = with_labels(batch, task.train)
        targets = {**labelled.targets, "teacher": soft_targets(task.teachers, batch.rows, task.temperature)}
        return replace(labelled, targets=targets)

    def part(self, network: Any, batch: PackedBatch) -> Part:
        """Its share of both losses; how the texts with a label are answered, as counts."""
        task, classifier = self.task, self.task.classifier
        logits_BC, labels, weights_B = network(batch), batch.targets["labels"], batch.targets.get("weights")
        soft_B = soft_losses(logits_BC, batch.targets["teacher"], task.temperature)
        soft = (soft_B if weights_B is None else soft_B * weights_B).sum()
        loss = task.weight / self.soft_denominator * soft
        if self.hard_denominator:  # known on the host: no batch waits for the device to learn it
            hard = classifier.summed_loss(logits_BC, batch.targets)
            loss = loss + (1.0 - task.weight) / self.hard_denominator * hard
        num_cells, num_labels = task.num_sums, len(classifier.labels)
        cells = labels * num_labels + logits_BC.detach().argmax(dim=1)
        # Texts without a label fall into a cell of their own, which is cut off.
        counts = counted(torch.where(labels >= 0, cells, num_cells), num_cells + 1)[:num_cells]
        return Part(loss, counts)

    def details(self, sums: Sequence[float]) -> None:
        """The loss is all there is."""
