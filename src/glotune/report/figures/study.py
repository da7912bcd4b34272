"""Figures of several runs side by side: one row, or one line, for each variant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glotune.errors import UserError
from glotune.report.analysis import RESAMPLING_SEED
from glotune.report.figures.curves import LOSS_UNITS
from glotune.report.figures.model import CurvePanels, Curves, DotPanels, DotRow, Dots, Estimate, FigureData, Series
from glotune.report.scores import display, in_a_sentence
from glotune.run.data import RunData
from glotune.run.predictions import numbered_alike
from glotune.run.records import Evaluation
from glotune.run.variants import by_variant
from glotune.stats.arrays import Answered
from glotune.stats.bootstrap import resample_together
from glotune.stats.contrasts import contrast_of_values
from glotune.stats.seed_scores import summarise_seeds
from glotune.stats.traits import trait

STUDY_CAPTIONS = {
    "final_comparison": "Each variant on validation and test, with 95 % intervals over texts, and over seeds where "
    "there are several.",
    "f1_scores": "The score on validation over the epochs, mean over languages and seeds.",
    "losses": "Validation loss over the epochs, mean over languages and seeds.",
    "search": "What each trial of the search was worth on the validation texts that it was judged by, by each key.",
}
MAX_VARIANTS = 30
"""More variants than this are in the tables and on the page, not in the pictures."""


def build_study_figures(runs: Sequence[RunData]) -> dict[str, FigureData]:
    """name -> data of each figure that these runs can have together."""
    variants = by_variant(runs)
    if not 1 < len(variants) <= MAX_VARIANTS:
        return {}
    kind = runs[0].kind
    built: dict[str, FigureData | None] = {
        "final_comparison": final_comparison(variants),
        "f1_scores": curves(variants, kind.metric, f"{display(kind.metric)}, validation", in_a_sentence(kind.metric)),
        "losses": curves(variants, "loss", "Loss, validation", LOSS_UNITS[kind.name]),
    }
    return {name: data for name, data in built.items() if data is not None}


def shared_languages(runs: Sequence[RunData], split: str) -> list[str]:
    """Languages that every evaluated run has on a split: those that none trained on, or all where there is none."""
    scored = [run for run in runs if run.evaluations.get(split)]
    if not scored:
        return []
    shared = [code for code in scored[0].evaluations[split] if all(code in run.evaluations[split] for run in scored)]
    targets = [code for code in shared if not any(run.is_source(code) for run in runs)]
    return targets or shared


def final_comparison(variants: dict[str, list[RunData]]) -> DotPanels | None:
    """Accuracy and macro-F1 of each variant, on validation and on test."""
    runs = [run for members in variants.values() for run in members]
    languages = {split: shared_languages(runs, split) for split in ("validation", "test")}
    splits = [split for split, codes in languages.items() if codes]
    if not splits:
        return None
    columns = tuple(f"{split} ({_over(languages[split], runs)})" for split in splits)
    panels = []
    for metric in runs[0].kind.pair:
        rows = tuple(
            DotRow(_label(name, members), tuple(estimate(members, split, languages[split], metric) for split in splits))
            for name, members in variants.items()
        )
        is_percent = trait(metric).is_percent
        axis = "percent" if is_percent else "with 95 % intervals"
        panels.append(Dots(display(metric), axis, columns, rows, is_percent=is_percent, are_languages=False))
    return DotPanels(tuple(panels))


def _over(languages: list[str], runs: list[RunData]) -> str:
    """What a mean is over: ``en``, ``mean of 5 target languages``."""
    if len(languages) == 1:
        return languages[0]
    targets = not any(run.is_source(code) for run in runs for code in languages)
    return f"mean of {len(languages)} {'target ' if targets else ''}languages"


def _label(name: str, members: list[RunData]) -> str:
    """A variant that is not sound says so beside its name."""
    bad = [run.manifest.verdict.status for run in members if run.manifest.verdict and not run.manifest.verdict.is_sound]
    return f"{name} ({bad[0]})" if bad else name


def estimate(members: list[RunData], split: str, languages: list[str], metric: str) -> Estimate | None:
    """Mean over languages and seeds; its interval over texts, and over seeds where there are several."""
    evaluations = [[run.evaluations.get(split, {}).get(code) for code in languages] for run in members]
    scored = [[each for each in line if each is not None] for line in evaluations]
    scored = [line for line in scored if len(line) == len(languages)]
    if not scored:
        return None
    n = sum(each.n for each in scored[0])
    if len(scored) > 1:
        return _over_seeds(members, split, languages, metric, scored, n)
    answered = next((each for run in members if (each := _answered(run, split, languages))), {})
    if not answered:
        return Estimate(_mean(scored, metric), n=n)
    parts = list(answered.values())
    found = resample_together(parts, metric, seed=RESAMPLING_SEED).weighted([1 / len(parts)] * len(parts))
    interval = found.interval()
    return Estimate(found.estimate, interval.low, interval.high, n)


def _answered(run: RunData, split: str, languages: list[str]) -> dict[str, Answered]:
    """What a run answered in all of the languages; empty where it lacks one."""
    tables = {code: table for code in languages if (table := run.predictions(split, code)) is not None and len(table)}
    answered = numbered_alike(tables) if len(tables) == len(languages) else {}
    return answered if all(each.is_finite for each in answered.values()) else {}


def _over_seeds(
    members: list[RunData], split: str, languages: list[str], metric: str, scored: list[list[Evaluation]], n: int
) -> Estimate:
    outcomes = [answered for run in members if (answered := _answered(run, split, languages))]
    try:
        summary = summarise_seeds(outcomes, metric) if len(outcomes) == len(scored) else None
    except UserError:
        summary = None
    if summary is None or summary.interval is None:
        return _over_seeds_alone(scored, metric, n)
    return Estimate(summary.mean, *_within(metric, summary.interval.low, summary.interval.high), n)


def _over_seeds_alone(scored: list[list[Evaluation]], metric: str, n: int) -> Estimate:
    """Where each seed was scored on texts of its own, as when each cut its own validation split."""
    values = [_mean([line], metric) for line in scored]
    found = contrast_of_values([values], [1.0])
    mean, half = float(found.estimate), float(found.half_width(0.95))
    return Estimate(mean, *_within(metric, mean - half, mean + half), n)


def _within(metric: str, low: float, high: float) -> tuple[float, float]:
    """Shares end at 0 and 1."""
    return (max(0.0, low), min(1.0, high)) if trait(metric).is_percent else (low, high)


def _mean(scored: list[list[Evaluation]], metric: str) -> float:
    return float(np.mean([each.scores.get(metric) or 0.0 for line in scored for each in line]))


def curves(variants: dict[str, list[RunData]], metric: str, title: str, axis: str) -> CurvePanels | None:
    """One line for each variant: the metric on validation, mean over its languages and seeds at each epoch."""
    series = []
    for name, members in variants.items():
        points: dict[float, list[float]] = {}
        for run in members:
            for point in run.history.mean_curve("validation", metric):
                points.setdefault(round(point.epoch, 6), []).append(point.scores[metric])
        # Where a seed stopped early, the line ends with it: a mean over fewer seeds is another line.
        kept = sorted(
            (epoch, float(np.mean(values))) for epoch, values in points.items() if len(values) == len(members)
        )
        if kept:
            x, y = zip(*kept, strict=True)
            series.append(Series(name, "validation", x, y, language=name))
    if not series:
        return None
    return CurvePanels((Curves(title, axis, tuple(series), is_percent=trait(metric).is_percent, are_languages=False),))
