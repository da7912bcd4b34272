"""From a run's evaluations to accuracy_f1_comparison, final_comparison and transfer_gap."""

from __future__ import annotations

import math
from collections.abc import Sequence

from glotune.report.analysis import ranked
from glotune.report.figures.model import DotPanels, DotRow, Dots, Estimate, GapRow, TransferGaps
from glotune.report.scores import display
from glotune.run.data import RunData
from glotune.run.history import ScorePoint
from glotune.run.records import Evaluation
from glotune.stats.traits import trait
from glotune.stats.transfer import Transfer

ALL_SOURCES = "all sources"
"""Row of the score in training, which is one for all languages trained on."""
MAX_SOURCES = 5
"""More training languages than this are counted in a title, not named."""


def estimate(evaluation: Evaluation, metric: str) -> Estimate | None:
    """A score with its interval; None where it is undefined."""
    value = evaluation.scores.get(metric)
    if value is None or not math.isfinite(value):
        return None
    interval = evaluation.intervals.get(metric)
    return Estimate(value, interval.low if interval else None, interval.high if interval else None, evaluation.n)


def accuracy_f1_comparison(run: RunData) -> DotPanels | None:
    """The scores that the task draws side by side, of each language on the main split, with intervals."""
    rows = tuple(
        DotRow(language, tuple(estimate(evaluation, metric) for metric in run.kind.drawn), run.is_source(language))
        for language, evaluation in ranked(run).items()
    )
    if not rows:
        return None
    title = f"Scores by language ({run.main_split})"
    names, is_percent = tuple(display(metric) for metric in run.kind.drawn), trait(run.kind.metric).is_percent
    return DotPanels((Dots(title, _axis(run.kind.metric), names, rows, is_percent=is_percent),))


def _axis(metric: str) -> str:
    return "percent" if trait(metric).is_percent else "with 95 % intervals"


def final_comparison(run: RunData) -> DotPanels | None:
    """Training, validation, last test while training and final test of the best checkpoint, per language."""
    if not run.main:
        return None
    return DotPanels(tuple(_stages(run, metric) for metric in run.kind.pair))


def _stages(run: RunData, metric: str) -> Dots:
    """A row for each language of any stage: sources are often trained and validated on, and not tested."""
    trained_on = run.sources[0] if len(run.sources) == 1 else ALL_SOURCES
    stages: list[tuple[str, dict[str, Estimate | None]]] = [
        ("training", {trained_on: _last_training(run, metric)}),
        ("validation", _final(run, "validation", metric)),
        ("last test in training", _last(run, "test", metric)),
        ("final test", _final(run, "test", metric)),
    ]
    present = [(name, values) for name, values in stages if any(values.values())]
    known = {language for _, values in present for language, each in values.items() if each is not None}
    tested = [language for language in ranked(run) if language in known]
    others = sorted(known - set(tested))
    languages = sorted([*tested, *others], key=lambda code: not (run.is_source(code) or code == ALL_SOURCES))
    rows = [
        DotRow(language, tuple(values.get(language) for _, values in present), run.is_source(language))
        for language in languages
    ]
    names = tuple(name for name, _ in present)
    return Dots(display(metric), _axis(metric), names, tuple(rows), is_percent=trait(metric).is_percent)


def _final(run: RunData, split: str, metric: str) -> dict[str, Estimate | None]:
    return {language: estimate(each, metric) for language, each in run.evaluations.get(split, {}).items()}


def _last(run: RunData, split: str, metric: str) -> dict[str, Estimate | None]:
    return {
        language: _of_point(points[-1], metric)
        for (known, language), points in run.history.evaluations.items()
        if known == split and points
    }


def _of_point(point: ScorePoint, metric: str) -> Estimate | None:
    value = point.scores.get(metric, math.nan)
    return Estimate(value, n=point.n) if math.isfinite(value) else None


def _last_training(run: RunData, metric: str) -> Estimate | None:
    return _of_point(run.history.train[-1], metric) if run.history.train else None


def gap_figure(found: Transfer | None, warning: str = "") -> TransferGaps | None:
    """The transfer_gap figure: targets from the widest gap down, then their average."""
    if found is None:
        return None
    gaps = sorted(found.gaps, key=lambda gap: -gap.points)
    rows = [GapRow(gap.language, Estimate(gap.points, gap.interval.low, gap.interval.high, gap.n)) for gap in gaps]
    if found.average_points is not None and found.average_interval is not None and len(rows) > 1:
        average = Estimate(found.average_points, found.average_interval.low, found.average_interval.high)
        rows.append(GapRow("average", average, is_average=True))
    source = sources_in_short(found.source_languages)
    is_percent = found.unit == "points"
    return TransferGaps(display(found.metric), source, found.source_score, tuple(rows), warning, is_percent=is_percent)


def sources_in_short(sources: Sequence[str]) -> str:
    """``en, de``; their number where they are more than a title holds."""
    return ", ".join(sources) if len(sources) <= MAX_SOURCES else f"{len(sources)} languages"
