"""The mean over the target languages, the figure by which work on transfer is compared (as on XNLI or XTREME)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from glotune.report.figures.build_results import RESAMPLING_SEED
from glotune.run.records import Evaluation
from glotune.stats.count_bootstrap import resample_counts
from glotune.stats.resampling import combine

COUNTED = ("accuracy", "macro_f1", "weighted_f1", "mcc")
"""Metrics that follow from the confusion matrix, whose mean thus has an interval."""


def averaged(languages: Iterable[str], sources: Sequence[str]) -> list[str]:
    """The languages that a mean is about: those that were not trained on; all where there is none."""
    known = list(languages)
    return [language for language in known if language not in sources] or known


def mean_name(languages: Sequence[str], sources: Sequence[str]) -> str:
    """What a mean is over: ``16 target languages``, ``3 source languages``."""
    return f"{len(languages)} {'source' if set(languages) <= set(sources) else 'target'} languages"


def mean_row(evaluations: Mapping[str, Evaluation], sources: Sequence[str]) -> tuple[str, Evaluation] | None:
    """Name and scores of the row below a table of languages; None where it would repeat a single language.

    Args:
        evaluations: language -> scores, in the order of the table.
        sources: languages trained on.
    """
    languages = averaged(evaluations, sources)
    if len(languages) < 2:
        return None
    return f"Mean of the {mean_name(languages, sources)}", mean_of([evaluations[name] for name in languages])


def mean_of(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Each metric's mean over languages, every language counting alike; with a 95 % interval over texts where it can.

    A metric that one of them lacks has no mean. The order of the languages makes no difference: every table and
    sentence shows the same interval.
    """
    evaluations = sorted(evaluations, key=lambda each: each.language)
    counts = [np.asarray(each.confusion, dtype=np.int64) for each in evaluations]
    known = COUNTED if all(each.size for each in counts) else ()
    parts = [resample_counts(each, known, seed=(RESAMPLING_SEED, place)) for place, each in enumerate(counts) if known]
    scores, intervals = {}, {}
    for metric in evaluations[0].scores:
        values = [each.scores.get(metric) for each in evaluations]
        whole = [value for value in values if value is not None and math.isfinite(value)]
        scores[metric] = sum(whole) / len(whole) if len(whole) == len(values) else None
        drawn = [part[metric] for part in parts if metric in part]
        if len(drawn) == len(values) and scores[metric] is not None:
            intervals[metric] = combine(drawn, [1 / len(drawn)] * len(drawn)).interval()
    total = sum(each.n for each in evaluations)
    return Evaluation(split=evaluations[0].split, language="mean", n=total, scores=scores, intervals=intervals)
