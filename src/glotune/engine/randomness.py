"""Randomness as a function of (seed, step, micro-batch, rank), never of hidden generator state.

A resumed run draws the same dropout masks as an uninterrupted one because nothing has to be remembered (C6).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

INITIALISATION = 0
"""Stream for fresh weights (head, adapters)."""
TRAINING = 1
"""Stream for dropout."""


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
