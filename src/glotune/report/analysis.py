"""What a report works out of a run before anything is shown: ranking, means over languages, transfer gaps.

The mean over the target languages is the number by which work on transfer is compared (as on XNLI or XTREME).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from glotune.errors import UserError
from glotune.run.data import RunData
from glotune.run.metrics import averaged, mean_name
from glotune.run.predictions import Predictions, answers_in, numbered_alike
from glotune.run.records import Evaluation, Interval
from glotune.stats.arrays import Answered
from glotune.stats.bootstrap import resample_all_together
from glotune.stats.transfer import Transfer, transfer_gaps

Item = TypeVar("Item")

RESAMPLING_SEED = 0


def mean_row(run: RunData, split: str) -> tuple[str, Evaluation] | None:
    """Name and scores of the row below a table of languages; None where it would repeat a single language."""
    evaluations = run.evaluations[split]
    languages = averaged(evaluations, run.sources)
    if len(languages) < 2:
        return None
    return f"Mean of the {mean_name(languages, run.sources)}", mean_of_run(run, split, languages)


def belonging(run: RunData, split: str, languages: Sequence[str]) -> list[str]:
    """What is said of texts that belong together: which languages are parallel, and how many texts are repeated."""
    if any((split, language) not in run.prediction_paths for language in languages):
        return []
    found, told = run.clusters(split, sorted(languages)), []
    for group in found.parallel:
        where = f"The {split} texts in {len(group)} languages ({', '.join(group)})"
        if found.by_accident:
            told.append(
                f"{where} stand in the same rows with the same labels, which follow a rule: they may be translations "
                "of one another, or not. Intervals count those of a row together, as a precaution; data.columns.id "
                "says which texts belong together."
            )
            continue
        why = "by the column that data.columns.id names" if found.by_key else "the same rows with the same labels"
        told.append(
            f"{where} are taken for translations of one another ({why}): intervals count the translations of a text "
            "together."
        )
    if found.repeated:
        told.append(
            f"{found.repeated:,} of the {split} texts stand{'s' if found.repeated == 1 else ''} there more than once: "
            "intervals count each text once."
        )
    return told


def mean_of_run(run: RunData, split: str, languages: Sequence[str]) -> Evaluation:
    """The mean of some languages of a run, with intervals from its prediction records."""
    key = ("mean", split, *sorted(languages))
    if key not in run.memo:
        evaluations = [run.evaluations[split][code] for code in languages]
        run.memo[key] = mean_of(evaluations, answers_in(run.directory.predictions, split, sorted(languages)))
    found: Evaluation = run.memo[key]
    return found


def mean_of(evaluations: Sequence[Evaluation], answered: Mapping[str, Answered]) -> Evaluation:
    """Each metric's mean over languages, every language counting alike; with a 95 % interval over texts where it can.

    A metric that one of them lacks has no mean. Texts that belong together, such as the translations of a parallel
    test set, are resampled together. The order of the languages makes no difference: every table and sentence shows
    the same interval.

    Args:
        evaluations: the scores of each language.
        answered: what was answered there, language by language; without it the mean has no interval.
    """
    evaluations = sorted(evaluations, key=lambda each: each.language)
    parts = [answered[each.language] for each in evaluations if each.language in answered]
    known = len(parts) == len(evaluations) and all(part.is_finite for part in parts)
    drawn = resample_all_together(parts, _counted(parts), seed=RESAMPLING_SEED) if known else {}
    scores, intervals = {}, {}
    for metric in evaluations[0].scores:
        values = [each.scores.get(metric) for each in evaluations]
        whole = [value for value in values if value is not None and math.isfinite(value)]
        scores[metric] = sum(whole) / len(whole) if len(whole) == len(values) else None
        if metric in drawn and scores[metric] is not None:
            intervals[metric] = drawn[metric].weighted([1 / len(parts)] * len(parts)).interval()
    total = sum(each.n for each in evaluations)
    return Evaluation(split=evaluations[0].split, language="mean", n=total, scores=scores, intervals=intervals)


def _counted(parts: Sequence[Answered]) -> list[str]:
    """The metrics of a task whose mean over languages has an interval: those that exist on these texts."""
    known = [part.values() for part in parts]
    return [name for name in parts[0].kind.counted if all(values.get(name) is not None for values in known)]


def ranked(run: RunData) -> dict[str, Evaluation]:
    """The main split's evaluations: source languages first, then targets from the best score down."""

    def place(language: str) -> tuple[bool, float, str]:
        return not run.is_source(language), -(run.main[language].scores.get(run.kind.metric) or 0.0), language

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


def transfer(run: RunData) -> Transfer | None:
    """Gaps of the main split from its predictions; None where there is no source or no target in it."""
    metric = run.kind.metric
    key = ("transfer", metric)
    if key not in run.memo:
        run.memo[key] = _transfer(run, metric)
    found: Transfer | None = run.memo[key]
    return found


@dataclass(frozen=True)
class LabelGap:
    """One label: F1 on the source languages that are annotated with it, and how much less on the target languages."""

    label: str
    source: float
    gap: float
    """Source minus target, as a share."""
    interval: Interval
    """95 %, over texts."""
    languages: int
    """Target languages that are annotated with it."""


def label_gaps(run: RunData) -> list[LabelGap]:
    """Of a run of several labels, on the main split; none without a source or a target there."""
    split = run.main_split
    if split is None or run.kind.name != "multi_label" or transfer(run) is None:
        return []
    return gaps_by_label(run.answered(split, sorted(run.main)), run.sources, run.manifest.labels)


def gaps_by_label(answered: Mapping[str, Answered], sources: Sequence[str], labels: Sequence[str]) -> list[LabelGap]:
    """Each label's gap, every language counting alike; languages without annotations of a label don't count for it."""
    metrics = [f"f1[{place}]" for place in range(len(labels))]
    drawn = resample_all_together(list(answered.values()), metrics, seed=RESAMPLING_SEED)
    known = [{place for place, _ in enumerate(labels) if place in each.support} for each in answered.values()]
    found = []
    for place, label in enumerate(labels):
        mine = [language in sources if place in its else None for language, its in zip(answered, known, strict=True)]
        if True not in mine or False not in mine:
            continue
        share = {True: 1.0 / mine.count(True), False: -1.0 / mine.count(False), None: 0.0}
        gap = drawn[metrics[place]].weighted([share[each] for each in mine])
        source = drawn[metrics[place]].weighted([max(0.0, share[each]) for each in mine]).estimate
        found.append(LabelGap(label, source, gap.estimate, gap.interval(), mine.count(False)))
    return found


def _transfer(run: RunData, metric: str) -> Transfer | None:
    split = run.main_split
    sources = [code for code in run.sources if code in run.main]
    if split is None or not sources or len(sources) == len(run.main):
        return None
    tables = {code: run.predictions(split, code) for code in run.main}
    known = numbered_alike({code: table for code, table in tables.items() if table is not None and len(table)})
    if not all(outcomes.is_finite for outcomes in known.values()) or not set(sources) <= set(known):
        return None
    try:
        found = transfer_gaps(known, sources, metric, seed=RESAMPLING_SEED)
    except UserError:
        return None
    return found if found.gaps else None
