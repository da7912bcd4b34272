"""What a teacher's answers ask of a student: soft targets (Hinton et al. 2015, arXiv:1503.02531), by kind of answer.

Several teachers ask for the mean of what each of them asks. Shape letters: B texts, L classes, labels or scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glotune.data.batches import Rows
from glotune.stats.arrays import sigmoid, softmax


@dataclass(frozen=True)
class TeacherOutputs:
    """What one teacher says of the N training texts."""

    outputs_NL: NDArray[np.float32]
    """Logits, or scores in their own units; memory-mapped, columns in the teacher's own order."""
    columns_L: NDArray[np.int64]
    """For each label of the run the teacher's column."""

    def of(self, rows: Rows) -> NDArray[np.float64]:
        """[B, L] in the order of the run's labels."""
        return self.outputs_NL[rows][:, self.columns_L].astype(np.float64)


class SoftTargets(Protocol):
    """How one kind of answer is taught."""

    def aims(self, outputs_BL: NDArray[np.float64]) -> NDArray[np.float64]:
        """[B, L] what one teacher's outputs ask for."""
        ...

    def losses(self, outputs_BL: Tensor, aims_BL: Tensor) -> Tensor:
        """[B] fp32: how far the student's outputs are from it; 0 where they are equal."""
        ...


def asked(teachers: Sequence[TeacherOutputs], soft: SoftTargets, rows: Rows) -> Tensor:
    """[B, L] float32: the mean of what the teachers ask of these texts."""
    found = np.mean([soft.aims(each.of(rows)) for each in teachers], axis=0)
    return torch.from_numpy(found.astype(np.float32))


@dataclass(frozen=True)
class ClassProbabilities:
    """One class for each text: T^2 times the divergence KL(teacher, student) of both at temperature T, in nats.

    Its gradient is that of the cross-entropy with soft targets, as the targets' entropy is a constant; T^2 keeps it as
    large as that of the labels (section 2).
    """

    temperature: float

    def aims(self, outputs_BL: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities at the temperature."""
        return softmax(outputs_BL / self.temperature, in_place=True)

    def losses(self, outputs_BL: Tensor, aims_BL: Tensor) -> Tensor:
        """[B]"""
        student = functional.log_softmax(outputs_BL.float() / self.temperature, dim=1)
        return self.temperature**2 * functional.kl_div(student, aims_BL, reduction="none").sum(dim=1)


@dataclass(frozen=True)
class LabelProbabilities:
    """Several labels for each text: as `ClassProbabilities` of each label's yes and no, as a mean over the labels.

    A teacher answers every label, also where the text is not annotated with it.
    """

    temperature: float

    def aims(self, outputs_BL: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities at the temperature, each by itself."""
        return sigmoid(outputs_BL / self.temperature)

    def losses(self, outputs_BL: Tensor, aims_BL: Tensor) -> Tensor:
        """[B]"""
        crossed = functional.binary_cross_entropy_with_logits(
            outputs_BL.float() / self.temperature, aims_BL, reduction="none"
        )
        entropy = -torch.xlogy(aims_BL, aims_BL) - torch.xlogy(1.0 - aims_BL, 1.0 - aims_BL)
        return self.temperature**2 * (crossed - entropy).mean(dim=1)


@dataclass(frozen=True)
class Scores:
    """Scores: the squared difference in units of their variance over the labelled training texts, as a mean over them.

    A number has no temperature.
    """

    as_outputs: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    """Scores in their own units to what the student's network says of them."""

    def aims(self, outputs_BL: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard deviations from the mean."""
        return self.as_outputs(outputs_BL)

    def losses(self, outputs_BL: Tensor, aims_BL: Tensor) -> Tensor:
        """[B]"""
        return ((outputs_BL.float() - aims_BL) ** 2).mean(dim=1)
