"""The mean over the target languages, the figure by which work on transfer is compared (as on XNLI or XTREME)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from glotune.report.figures.build_results import RESAMPLING_SEED
from glotune.report.words import bracketed
from glotune.run.records import Evaluation
from glotune.stats.count_bootstrap import resample_counts
from glotune.stats.resampling import combine

COUNTED = ("accuracy", "macro_f1", "weighted_f1", "mcc")
"""Metrics that follow from the confusion matrix, whose mean thus has an interval."""


def mean_cells(evaluations: Sequence[Evaluation], metrics: Sequence[str]) -> tuple[str, ...]:
    """Each metric's mean over languages, every language counting alike; with a 95 % interval over texts where it can.

    A metric that one of them lacks has no mean.
    """
    counts = [np.asarray(each.confusion, dtype=np.int64) for each in evaluations]
    known = [metric for metric in metrics if metric in COUNTED] if all(each.size for each in counts) else []
    parts = [resample_counts(each, known, seed=(RESAMPLING_SEED, place)) for place, each in enumerate(counts) if known]
    cells = []
    for metric in metrics:
        values = [each.scores.get(metric) for each in evaluations]
        whole = [value for value in values if value is not None and math.isfinite(value)]
        mean = sum(whole) / len(whole) if len(whole) == len(values) else None
        drawn = [part[metric] for part in parts if metric in part]
        interval = combine(drawn, [1 / len(drawn)] * len(drawn)).interval() if len(drawn) == len(values) else None
        cells.append(bracketed(metric, mean, interval))
    return tuple(cells)
