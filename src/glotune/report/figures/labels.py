"""From the records of several labels for each text to the figures that stand in the place of confusion matrices."""

from __future__ import annotations

import numpy as np

from glotune.report.analysis import main_tables, ranked, shown_languages
from glotune.report.figures.model import ConfusionPanel, Cooccurrence, DotPanels, DotRow, Dots, Estimate
from glotune.run.data import RunData
from glotune.stats.bootstrap import score_intervals
from glotune.stats.evaluation import INTERVAL_SEED
from glotune.stats.label_sets import LabelSets
from glotune.words import named

MOST_LANGUAGES = 4
"""Side by side in one picture: the best and the worst; the tables have all."""
MOST_MATRICES = 12
MEASURES = ("precision", "recall")


def label_scores(run: RunData, most: int = MOST_LANGUAGES) -> DotPanels | None:
    """Precision and recall of each label with 95 % intervals, a panel for each language shown."""
    found = {language: each for language, each in _sets(run).items() if language in shown_languages(run, most)}
    if not found:
        return None
    labels = run.manifest.labels
    return DotPanels(tuple(_of_language(language, sets, labels) for language, sets in found.items()))


def _of_language(language: str, sets: LabelSets, labels: list[str]) -> Dots:
    known = np.flatnonzero(sets.is_known_L).tolist()
    metrics = [f"{measure}[{label}]" for label in known for measure in MEASURES]
    intervals = score_intervals(sets, metrics, seed=INTERVAL_SEED)
    told = sets.by_label(labels)

    def estimate(label: int, measure: str) -> Estimate | None:
        if label not in known:
            return None
        interval = intervals.get(f"{measure}[{label}]")
        value, n = told[labels[label]][measure], int(told[labels[label]]["support"])
        return Estimate(value, interval.low, interval.high, n) if interval else Estimate(value, n=n)

    rows = tuple(
        DotRow(name, tuple(estimate(label, measure) for measure in MEASURES)) for label, name in enumerate(labels)
    )
    return Dots(named(language), "percent", ("Precision", "Recall"), rows, are_languages=False)


def cooccurrence(run: RunData, most: int = MOST_MATRICES) -> Cooccurrence | None:
    """Of the texts with an error on one label, those with an error on another, by language."""
    found = _sets(run)
    shown = [language for language in shown_languages(run, most) if language in found]
    panels = tuple(_errors(language, found[language]) for language in shown)
    if not panels:
        return None
    left_out = tuple(language for language in ranked(run) if language in found and language not in shown)
    return Cooccurrence(str(run.main_split), tuple(run.manifest.labels), panels, left_out)


def _errors(language: str, sets: LabelSets) -> ConfusionPanel:
    wrong_BL = sets.is_wrong_BL.astype(np.int64)
    counts_LL = wrong_BL.T @ wrong_BL
    right = float((~sets.is_wrong_BL.any(axis=1)).mean())
    blank = tuple(np.flatnonzero(~sets.is_known_L).tolist())
    return ConfusionPanel(language, sets.num_texts, right, tuple(tuple(row) for row in counts_LL.tolist()), blank)


def _sets(run: RunData) -> dict[str, LabelSets]:
    """Language -> its answers, in the order of the ranking."""
    tables = main_tables(run)
    answered = {language: tables[language].outcomes for language in ranked(run) if language in tables}
    return {language: each for language, each in answered.items() if isinstance(each, LabelSets)}
