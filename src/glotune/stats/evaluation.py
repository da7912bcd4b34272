"""The scores of one split and language with their intervals: computed alike by a run, a study and an audit."""

from __future__ import annotations

from collections.abc import Sequence

from glotune.run.records import Evaluation
from glotune.stats.arrays import Answered, Outcomes
from glotune.stats.bootstrap import interval_metrics_of, score_intervals

INTERVAL_SEED = 0
"""Intervals are a function of the predictions alone: the same for every run and reader."""


def evaluation_of(
    found: Answered,
    split: str,
    language: str,
    labels: list[str] | None,
    *,
    interval_metrics: Sequence[str] | None = None,
) -> Evaluation:
    """The scores of some texts, with 95 % intervals over them.

    Args:
        labels: names of the classes, for the scores of each; None: without these.
        interval_metrics: the metrics that get an interval; None: those of the task.
    """
    found.require_finite()
    metrics = interval_metrics_of(found) if interval_metrics is None else interval_metrics
    return Evaluation(
        split=split,
        language=language,
        n=found.num_texts,
        scores=found.values(),
        intervals=score_intervals(found, metrics, seed=INTERVAL_SEED),
        per_class={} if labels is None else found.by_label(labels),
        confusion=found.confusion_CC.tolist() if isinstance(found, Outcomes) else [],
    )
