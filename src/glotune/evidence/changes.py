"""A variant's change against the reference in percent: whether there is one to state, and its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glotune.errors import UserError
from glotune.evidence import label_sets, ratings
from glotune.evidence.skill import at_chance
from glotune.evidence.variants import Difference, Variant
from glotune.report.analysis import mean_of_run
from glotune.run.data import RunData
from glotune.stats.label_sets import LabelSets
from glotune.stats.percentage import HalfWidths
from glotune.stats.ratings import Ratings
from glotune.stats.seed_scores import summarise_seeds

WITHIN_CHANCE = "the difference lies within chance"


def explained_by_chance(
    found: Difference | None, reference: Variant, split: str, languages: Sequence[str]
) -> str | None:
    """Why a change against the reference may be chance's alone; None where it is not.

    A run that passes on the languages that it was trained on can still be guessing on the ones compared: 20 points
    above guessing is a difference, but "60 % better than guessing" says nothing of the variant.
    """
    if found is None:
        return "not tested"
    if found.reason is not None:
        return found.reason
    if not found.is_beyond_chance:
        return WITHIN_CHANCE
    if any(_guesses(run, split, languages) for run in reference.runs):
        return f"{reference.name} is not shown to be better than chance on {', '.join(languages)}"
    return None


def _guesses(run: RunData, split: str, languages: Sequence[str]) -> bool:
    evaluations = run.evaluations[split]
    counts = {name: np.asarray(evaluations[name].confusion, dtype=np.int64) for name in languages}
    if all(each.size for each in counts.values()):
        return at_chance(counts)
    try:
        answered = run.answered(split, list(languages))
    except UserError:
        return False
    sets = {name: each for name, each in answered.items() if isinstance(each, LabelSets)}
    numbers = {name: each for name, each in answered.items() if isinstance(each, Ratings)}
    return bool(sets and label_sets.no_skill(sets)) or bool(numbers and ratings.no_skill(numbers))


def half_widths(
    found: Difference, candidate: Variant, reference: Variant, metric: str, split: str, languages: Sequence[str]
) -> HalfWidths | None:
    """Of the scores of both and of their difference; None where one has no interval."""
    value, base = (_half_width(each, metric, split, languages) for each in (candidate, reference))
    if value is None or base is None or found.interval is None:
        return None
    return HalfWidths(value, base, (found.interval.high - found.interval.low) / 2)


def _half_width(variant: Variant, metric: str, split: str, languages: Sequence[str]) -> float | None:
    """Over seeds and texts; of one seed over texts."""
    if len(variant.runs) == 1:
        interval = mean_of_run(variant.runs[0], split, languages).intervals.get(metric)
        return None if interval is None else (interval.high - interval.low) / 2
    try:
        runs = [run.answered(split, list(languages)) for run in variant.runs]
        interval = summarise_seeds(runs, metric).interval
    except UserError:
        return None
    return None if interval is None else (interval.high - interval.low) / 2
