"""A run draws from its own seeds, and whoever draws around it goes on as if it had not been."""

from __future__ import annotations

import random

import numpy as np
import torch

from glotune.engine.step import own_randomness, seed_initialisation


def draws() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def test_a_run_leaves_the_callers_generators_as_they_were() -> None:
    def begin() -> None:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)

    begin()
    expected = [draws(), draws()]
    begin()
    first = draws()
    with own_randomness():
        seed_initialisation(0)
        inside = draws()
    assert [first, draws()] == expected
    seed_initialisation(0)
    assert draws() == inside
