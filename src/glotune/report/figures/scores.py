"""From the records of scores to the figures that stand in the place of confusion matrices."""

from __future__ import annotations

import numpy as np

from glotune.report.analysis import main_tables, ranked, shown_languages
from glotune.report.figures.model import Scatter, ScatterPanel
from glotune.run.data import RunData
from glotune.stats.confusion import FloatArray
from glotune.stats.ratings import Ratings

MOST_POINTS = 600
"""Of a panel, drawn at random: more hide one another."""
MOST_PANELS = 12


def score_scatter(run: RunData, most: int = MOST_PANELS) -> Scatter | None:
    """What was answered beside what is true, a panel for each language and score."""
    panels = [panel for language, found in _numbers(run, most).items() for panel in _panels(run, language, found)]
    return Scatter(str(run.main_split), "true", "answered", tuple(panels[:most]), is_diagonal=True) if panels else None


def residuals(run: RunData, most: int = MOST_PANELS) -> Scatter | None:
    """How far answers lie above the truth, beside what was answered: a slope or a fan shows what a model misses."""
    whole = score_scatter(run, most)
    if whole is None:
        return None
    panels = tuple(
        ScatterPanel(each.title, each.y, tuple(y - x for x, y in zip(each.x, each.y, strict=True)), each.note)
        for each in whole.panels
    )
    return Scatter(whole.split, "answered", "answered minus true", panels, is_diagonal=False)


def _numbers(run: RunData, most: int) -> dict[str, Ratings]:
    tables = main_tables(run)
    shown = shown_languages(run, max(1, most // max(1, len(run.manifest.labels))))
    answered = {language: tables[language].outcomes for language in ranked(run) if language in tables}
    return {name: each for name, each in answered.items() if isinstance(each, Ratings) and name in shown}


def _panels(run: RunData, language: str, found: Ratings) -> list[ScatterPanel]:
    labels, panels = run.manifest.labels, []
    told = found.by_label(labels)
    for place in found.known_scores:
        known = np.flatnonzero(found.is_known_BL[:, place])
        if len(known) > MOST_POINTS:
            known = np.sort(np.random.default_rng(0).choice(known, MOST_POINTS, replace=False))
        title = f"{language}, {labels[place]}" if len(labels) > 1 else language
        correlation = told[labels[place]].get("pearson")
        note = f"n = {int(told[labels[place]]['n']):,}" + ("" if correlation is None else f", r {correlation:.2f}")
        panels.append(
            ScatterPanel(title, _rounded(found.truth_BL[known, place]), _rounded(found.answer_BL[known, place]), note)
        )
    return panels


def _rounded(values: FloatArray) -> tuple[float, ...]:
    return tuple(float(f"{value:.5g}") for value in values)
