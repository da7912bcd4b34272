"""The loss of a student: against the equation of Hinton et al. 2015, and at its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from glotune.recipe.kinds import KINDS
from glotune.tasks.label_sets import LabelSetReading
from glotune.tasks.scores import ScoreReading
from glotune.tasks.soft_targets import (
    ClassProbabilities,
    LabelProbabilities,
    Scores,
    SoftTargets,
    TeacherOutputs,
    asked,
)

ROWS = np.arange(5)
SCORES = Scores(ScoreReading(np.array([40.0, 2.0, -1.0]), np.array([20.0, 0.5, 3.0])).as_outputs)
EACH = pytest.mark.parametrize("soft", [ClassProbabilities(3.0), LabelProbabilities(3.0), SCORES])


def said(seed: int, columns: list[int] | None = None) -> TeacherOutputs:
    values = np.random.default_rng(seed).normal(scale=3.0, size=(5, 3)).astype(np.float32)
    return TeacherOutputs(values, np.array(columns or [0, 1, 2]))


def student_of(seed: int = 0) -> torch.Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), requires_grad=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_gradient_is_that_of_the_cross_entropy_with_soft_targets(temperature: float) -> None:
    """Equation 2 of arXiv:1503.02531: dC/dz = (q - p) / T, here times T^2."""
    teacher, student, soft = said(1), student_of(), ClassProbabilities(temperature)
    soft.losses(student, asked([teacher], soft, ROWS)).sum().backward()
    p = torch.softmax(torch.from_numpy(teacher.outputs_NL) / temperature, dim=1)
    q = torch.softmax(student.detach() / temperature, dim=1)
    assert student.grad is not None
    assert torch.allclose(student.grad, (q - p) * temperature, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_of_several_labels_it_is_that_of_each_by_itself_and_their_mean_counts(temperature: float) -> None:
    teacher, student, soft = said(1), student_of(), LabelProbabilities(temperature)
    soft.losses(student, asked([teacher], soft, ROWS)).sum().backward()
    p = torch.sigmoid(torch.from_numpy(teacher.outputs_NL) / temperature)
    q = torch.sigmoid(student.detach() / temperature)
    assert student.grad is not None
    assert torch.allclose(student.grad, (q - p) * temperature / 3, atol=1e-5)


def test_a_label_is_taught_as_two_classes_are() -> None:
    """Yes against no: logits z and 0, as `ClassProbabilities` has them."""
    teacher, student = said(2).outputs_NL[:, :1], student_of().detach()[:, :1]
    two = np.concatenate([teacher, np.zeros_like(teacher)], axis=1)
    of_label, of_classes = LabelProbabilities(2.0), ClassProbabilities(2.0)
    one = of_label.losses(student, asked([TeacherOutputs(teacher, np.arange(1))], of_label, ROWS))
    both = torch.cat([student, torch.zeros_like(student)], dim=1)
    other = of_classes.losses(both, asked([TeacherOutputs(two, np.arange(2))], of_classes, ROWS))
    assert torch.allclose(one, other, atol=1e-5)


def test_scores_are_learned_in_units_of_their_deviation() -> None:
    teacher = TeacherOutputs(np.array([[60.0, 2.0, 5.0]], np.float32), np.arange(3))
    aims = asked([teacher], SCORES, np.arange(1))
    assert aims.tolist() == [[1.0, 0.0, 2.0]]
    assert SCORES.losses(torch.tensor([[0.0, 0.0, 5.0]]), aims).tolist() == pytest.approx([(1 + 0 + 9) / 3])


@EACH
def test_a_student_that_answers_as_its_teacher_has_no_loss(soft: SoftTargets) -> None:
    teacher = said(2)
    outputs = teacher.outputs_NL if soft is not SCORES else SCORES.as_outputs(teacher.outputs_NL.astype(np.float64))
    losses = soft.losses(torch.from_numpy(outputs), asked([teacher], soft, ROWS))
    assert torch.allclose(losses, torch.zeros(5, dtype=losses.dtype), atol=1e-5)


@EACH
def test_a_student_that_answers_otherwise_has_one(soft: SoftTargets) -> None:
    assert (soft.losses(student_of().detach(), asked([said(2)], soft, ROWS)) > 0).all()


def test_several_teachers_teach_the_mean_of_their_probabilities() -> None:
    teachers = [said(3), said(4)]
    logits = [torch.from_numpy(each.outputs_NL).double() / 2.0 for each in teachers]
    of_classes = sum(functional.softmax(each, dim=1) for each in logits) / 2
    assert torch.allclose(
        asked(teachers, ClassProbabilities(2.0), ROWS).double(), torch.as_tensor(of_classes), atol=1e-6
    )
    of_labels = sum(map(torch.sigmoid, logits)) / 2
    assert torch.allclose(
        asked(teachers, LabelProbabilities(2.0), ROWS).double(), torch.as_tensor(of_labels), atol=1e-6
    )


def test_several_teachers_teach_the_mean_of_their_scores() -> None:
    first, second = said(3), said(4)
    mean = TeacherOutputs((first.outputs_NL + second.outputs_NL) / 2, np.arange(3))
    assert torch.allclose(asked([first, second], SCORES, ROWS), asked([mean], SCORES, ROWS), atol=1e-6)


@EACH
def test_a_teachers_columns_are_put_into_the_order_of_the_run(soft: SoftTargets) -> None:
    plain, turned = said(5), said(5, [2, 0, 1])
    in_order = TeacherOutputs(np.ascontiguousarray(plain.outputs_NL[:, [2, 0, 1]]), np.arange(3))
    assert torch.equal(asked([turned], soft, ROWS), asked([in_order], soft, ROWS))


@pytest.mark.parametrize("soft", [ClassProbabilities(1.0), LabelProbabilities(1.0)])
def test_a_teacher_who_is_certain_gives_finite_losses(soft: SoftTargets) -> None:
    certain = TeacherOutputs(np.array([[1e4, -1e4, 0.0]], np.float32), np.arange(3))
    student = torch.tensor([[-5.0, 5.0, 0.0]], requires_grad=True)
    losses = soft.losses(student, asked([certain], soft, np.arange(1)))
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_each_task_has_its_own() -> None:
    labels = LabelSetReading(np.ones(3, np.float32))
    assert labels.soft_targets(2.0) == LabelProbabilities(2.0)
    assert labels.kind is KINDS["multi_label"]
    scores = ScoreReading(np.zeros(3), np.ones(3))
    assert isinstance(scores.soft_targets(2.0), Scores)
