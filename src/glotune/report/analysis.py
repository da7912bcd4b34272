"""What a report works out of a run before anything is shown: ranking, means over languages, transfer gaps.

The mean over the target languages is the number by which work on transfer is compared (as on XNLI or XTREME).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from glotune.errors import UserError
from glotune.run.data import RunData
from glotune.run.predictions import Predictions
from glotune.run.records import Evaluation
from glotune.stats.count_bootstrap import resample_counts
from glotune.stats.resampling import combine
from glotune.stats.transfer import Transfer, transfer_gaps

Item = TypeVar("Item")

GAP_METRIC = "macro_f1"
RESAMPLING_SEED = 0

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


def ranked(run: RunData) -> dict[str, Evaluation]:
    """The main split's evaluations: source languages first, then targets from the best macro-F1 down."""

    def place(language: str) -> tuple[bool, float, str]:
        return not run.is_source(language), -(run.main[language].scores.get("macro_f1") or 0.0), language

    return {language: run.main[language] for language in sorted(run.main, key=place)}


def shown_languages(run: RunData, most: int) -> list[str]:
    """At most `most` languages of the main split, in the order of `ranked`: the extremes of sources and of targets.

    What the alphabet puts first would stand for nothing.
    """
    order = list(ranked(run))
    sources = [code for code in order if run.is_source(code)]
    targets = [code for code in order if not run.is_source(code)]
    kept = extremes(sources, max(most - len(targets), most // 3))
    return [*kept, *extremes(targets, most - len(kept))]


def extremes(ranking: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of a ranking: its best and its worst, in their order."""
    worst = most // 2 if len(ranking) > most else 0
    return [*ranking[: most - worst], *ranking[len(ranking) - worst :]]


def main_tables(run: RunData) -> dict[str, Predictions]:
    """language -> finite predictions of the main split, source languages first."""
    split = run.main_split
    if split is None:
        return {}
    tables = {language: run.predictions(split, language) for language in run.main}
    return {
        language: table
        for language, table in tables.items()
        if table is not None and len(table) and table.outcomes.is_finite
    }


def transfer(run: RunData, metric: str = GAP_METRIC) -> Transfer | None:
    """Gaps of the main split from its predictions; None where there is no source or no target in it."""
    key = ("transfer", metric)
    if key not in run.memo:
        run.memo[key] = _transfer(run, metric)
    found: Transfer | None = run.memo[key]
    return found


def _transfer(run: RunData, metric: str) -> Transfer | None:
    split = run.main_split
    sources = [code for code in run.sources if code in run.main]
    if split is None or not sources or len(sources) == len(run.main):
        return None
    tables = {code: run.predictions(split, code) for code in run.main}
    known = {code: table.outcomes for code, table in tables.items() if table is not None and len(table)}
    if not all(outcomes.is_finite for outcomes in known.values()) or not set(sources) <= set(known):
        return None
    try:
        found = transfer_gaps(known, sources, metric, seed=RESAMPLING_SEED)
    except UserError:
        return None
    return found if found.gaps else None
