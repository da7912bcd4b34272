"""The loss of a student: against the equation of Hinton et al. 2015, and at its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from glotune.tasks.distillation import TeacherLogits, soft_losses, soft_targets

ROWS = np.arange(5)


def made_logits(seed: int, columns: list[int] | None = None) -> TeacherLogits:
    values = np.random.default_rng(seed).normal(scale=3.0, size=(5, 3)).astype(np.float32)
    return TeacherLogits(values, np.array(columns or [0, 1, 2]))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_gradient_is_that_of_the_cross_entropy_with_soft_targets(temperature: float) -> None:
    """Equation 2 of arXiv:1503.02531: dC/dz = (q - p) / T, here times T^2."""
    teacher = made_logits(1)
    student = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    soft_losses(student, soft_targets([teacher], ROWS, temperature), temperature).sum().backward()
    p = torch.softmax(torch.from_numpy(teacher.logits_NC) / temperature, dim=1)
    q = torch.softmax(student.detach() / temperature, dim=1)
    assert student.grad is not None
    assert torch.allclose(student.grad, (q - p) * temperature, atol=1e-5)


def test_a_student_that_answers_as_its_teacher_has_no_loss() -> None:
    teacher = made_logits(2)
    losses = soft_losses(torch.from_numpy(teacher.logits_NC), soft_targets([teacher], ROWS, 3.0), 3.0)
    assert torch.allclose(losses, torch.zeros(5), atol=1e-5)


def test_several_teachers_teach_the_mean_of_their_probabilities() -> None:
    first, second = made_logits(3), made_logits(4)
    mean = (
        sum(functional.softmax(torch.from_numpy(each.logits_NC).double() / 2.0, dim=1) for each in (first, second)) / 2
    )
    assert torch.allclose(soft_targets([first, second], ROWS, 2.0).double(), torch.as_tensor(mean), atol=1e-6)


def test_a_teachers_columns_are_put_into_the_order_of_the_run() -> None:
    plain, turned = made_logits(5), made_logits(5, [2, 0, 1])
    assert torch.equal(soft_targets([turned], ROWS, 1.0), soft_targets([plain], ROWS, 1.0)[:, [2, 0, 1]])


def test_a_teacher_who_is_certain_gives_finite_losses() -> None:
    certain = TeacherLogits(np.array([[1e4, -1e4, 0.0]], np.float32), np.arange(3))
    losses = soft_losses(torch.tensor([[-5.0, 5.0, 0.0]]), soft_targets([certain], np.arange(1), 1.0), 1.0)
    assert torch.isfinite(losses).all()
