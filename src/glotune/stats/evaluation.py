"""The scores of one split and language with their intervals: computed alike by a run, a study and an audit."""

from __future__ import annotations

from glotune.run.records import Evaluation
from glotune.stats.arrays import Outcomes
from glotune.stats.bootstrap import score_intervals
from glotune.stats.scores import score_outcomes

INTERVAL_SEED = 0
"""Intervals are a function of the predictions alone: the same for every run and reader."""


def evaluation_of(found: Outcomes, split: str, language: str, labels: list[str]) -> Evaluation:
    """The scores of some texts, with 95 % intervals over them."""
    scores = score_outcomes(found)
    return Evaluation(
        split=split,
        language=language,
        n=scores.n,
        scores=scores.values(),
        intervals=score_intervals(found, seed=INTERVAL_SEED),
        per_class=scores.class_values(labels),
        confusion=[list(row) for row in scores.confusion_CC],
    )
