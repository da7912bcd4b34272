"""The scores of one split and language with their intervals: computed alike by a run, a study and an audit."""

from __future__ import annotations

from collections.abc import Sequence

from glotune.run.records import Evaluation
from glotune.stats.arrays import Outcomes
from glotune.stats.bootstrap import score_intervals
from glotune.stats.confusion import COUNT_METRICS
from glotune.stats.scores import score_outcomes

INTERVAL_SEED = 0
"""Intervals are a function of the predictions alone: the same for every run and reader."""


def evaluation_of(
    found: Outcomes,
    split: str,
    language: str,
    labels: list[str] | None,
    *,
    interval_metrics: Sequence[str] = (*COUNT_METRICS, "loss"),
) -> Evaluation:
    """The scores of some texts, with 95 % intervals over them.

    Args:
        labels: names of the classes, for the scores of each; None: without these.
        interval_metrics: the metrics that get an interval.
    """
    scores = score_outcomes(found)
    return Evaluation(
        split=split,
        language=language,
        n=scores.n,
        scores=scores.values(),
        intervals=score_intervals(found, interval_metrics, seed=INTERVAL_SEED),
        per_class={} if labels is None else scores.class_values(labels),
        confusion=[list(row) for row in scores.confusion_CC],
    )
