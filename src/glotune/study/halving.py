"""Asynchronous successive halving (Li et al. 2020, MLSys, arXiv:1810.05934, algorithm 2), decided by each trial itself.

A trial that comes to a rung (epoch 1, 3, 9, ...) is held against all that came there before it, and goes on if it is
among the best third. The first ones have nothing to be held against; the best so far always goes on, as in Optuna's
`SuccessiveHalvingPruner`: nothing is suspended and taken up again. What each was worth stands in a file that all trials
of the study append to, under a lock, wherever they run; what was decided there once is not decided again, so that a
trial that was killed and resumed ends as it would have.
"""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glotune.run.trials import RUNGS, Rung, SearchRecord, read_rungs


@dataclass(frozen=True)
class Halving:
    """The pruner of one trial (`glotune.engine.observer.Pruner`)."""

    folder: Path
    """Of the search."""
    run: str
    record: SearchRecord

    def goes_on(self, epoch: int, value: float) -> bool:
        """Whether the trial is among the best at this epoch; True where it is no rung."""
        if not is_rung(epoch, self.record):
            return True
        path = self.folder / RUNGS
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            there = [rung for rung in read_rungs(path) if rung.epoch == epoch]
            known = next((rung for rung in there if rung.run == self.run), None)
            if known is not None:
                return known.goes_on
            found = goes_on(value, [rung.value for rung in there], self.record)
            line = Rung(run=self.run, epoch=epoch, value=value, goes_on=found).model_dump_json() + "\n"
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        return found


def is_rung(epoch: int, record: SearchRecord) -> bool:
    """Whether trials are compared after so many epochs."""
    rung = record.first_rung
    if rung is None:
        return False
    while rung < epoch:
        rung *= record.factor
    return rung == epoch


def goes_on(value: float, others: Sequence[float], record: SearchRecord) -> bool:
    """Whether a value is among the best ``1 / factor`` of itself and the others, or the best of all.

    Args:
        value: of the trial in question; one that is not finite never goes on.
        others: of the trials that came to this rung before.
    """
    if not math.isfinite(value):
        return False
    sign = 1.0 if record.higher_is_better else -1.0
    ranked = sorted((sign * each for each in (*others, value)), reverse=True)
    return sign * value >= ranked[max(1, len(ranked) // record.factor) - 1]
