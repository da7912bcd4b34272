"""The learning rate at every step, against torch's own schedulers."""

import math

import pytest
import torch

from glotune.engine.optimizer import Schedule
from glotune.recipe import schema


def factors(spec: schema.Schedule, steps_per_epoch: int = 5, epochs: int = 4, rate: float = 2e-4) -> list[float]:
    schedule = Schedule(spec, rate, steps_per_epoch, epochs)
    return [schedule.factor(step) for step in range(schedule.total_steps)]


def test_cosine_per_epoch_is_torchs_cosine_annealing() -> None:
    found = factors(schema.Schedule(name="cosine", per="epoch", minimum_learning_rate=2e-5))
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=2e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4, eta_min=2e-5)
    expected = []
    for _ in range(4):
        expected += [optimizer.param_groups[0]["lr"] / 2e-4] * 5
        optimizer.step()
        scheduler.step()
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_warmup_then_decay_is_transformers_schedule(name: str) -> None:
    from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

    make = {"linear": get_linear_schedule_with_warmup, "cosine": get_cosine_schedule_with_warmup}[name]
    found = factors(schema.Schedule(name=name, warmup_ratio=0.2))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer, num_warmup_steps=4, num_training_steps=20)
    expected = []
    for _ in range(20):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    # transformers starts at 0, so that its first update does nothing; ours starts at 1 / warmup_steps.
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert found[4:] == pytest.approx(expected[4:])


def test_constant_and_the_floor() -> None:
    assert factors(schema.Schedule(name="constant")) == [1.0] * 20
    linear = factors(schema.Schedule(name="linear", minimum_learning_rate=1e-4))
    assert min(linear) >= 0.5
    assert linear == sorted(linear, reverse=True)


def test_warmup_steps_override_the_ratio() -> None:
    schedule = Schedule(schema.Schedule(warmup_steps=3, warmup_ratio=0.5), 1e-3, 10, 2)
    assert schedule.warmup_steps == 3
    assert Schedule(schema.Schedule(warmup_ratio=0.1), 1e-3, 7, 1).warmup_steps == math.ceil(0.7)
