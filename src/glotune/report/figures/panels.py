"""From prediction records to ROC and precision-recall curves, confusion matrices and calibration, by language."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from glotune.report.analysis import main_tables, ranked, shown_languages
from glotune.report.figures.model import (
    Calibration,
    CalibrationBin,
    CalibrationPanel,
    ConfusionMatrices,
    ConfusionPanel,
    Estimate,
    PrecisionRecallLine,
    RocCurves,
    RocLine,
    RocPanel,
)
from glotune.run.data import RunData
from glotune.run.predictions import Predictions
from glotune.stats.arrays import Outcomes
from glotune.stats.calibration import ReliabilityBin, chance_error, expected_calibration_error, reliability
from glotune.stats.curves import PrecisionRecallCurve, RocCurve, precision_recall_curves, roc_curves

Curve = TypeVar("Curve")

MAX_PANELS = 12
"""Of more languages than this the picture shows the extremes, the page all."""
MAX_ROC_POINTS = 150
Z95 = 1.959963984540054


def roc_figure(run: RunData) -> RocCurves | None:
    """ROC curves, one class against the rest; with two classes that of the second alone (the other mirrors it)."""
    tables, left_out = _shown_tables(run)
    panels = [
        RocPanel(language, len(table), roc_lines(table, run.manifest.labels)) for language, table in tables.items()
    ]
    panels = [panel for panel in panels if panel.lines]
    return RocCurves(str(run.main_split), tuple(run.manifest.labels), tuple(panels), left_out) if panels else None


def _shown_tables(run: RunData) -> tuple[dict[str, Predictions], tuple[str, ...]]:
    """The predictions of the languages that have a panel, in the order of the ranking; and the languages without."""
    tables = main_tables(run)
    shown = [language for language in shown_languages(run, MAX_PANELS) if language in tables]
    left_out = tuple(language for language in ranked(run) if language in tables and language not in shown)
    return {language: tables[language] for language in shown}, left_out


def roc_lines(table: Predictions, labels: list[str]) -> tuple[RocLine, ...]:
    """The curves that exist on these texts, at most `MAX_ROC_POINTS` points each."""
    shown = _told(roc_curves(table.outcomes.rankings()), table)
    return tuple(_thin_roc(curve, labels[curve.label]) for curve in shown if curve is not None)


def _told(curves: tuple[Curve, ...], table: Predictions) -> tuple[Curve, ...]:
    """Of two classes the second alone: the other mirrors it."""
    return curves[1:] if len(curves) == 2 and isinstance(table.outcomes, Outcomes) else curves


def _thin_roc(curve: RocCurve, label: str) -> RocLine:
    x, y = np.asarray(curve.false_positive_rate), np.asarray(curve.true_positive_rate)
    if len(x) > MAX_ROC_POINTS:
        # Even steps along the curve's own length keep its steep start.
        length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        kept = np.unique(np.searchsorted(length, np.linspace(0, length[-1], MAX_ROC_POINTS)).clip(0, len(x) - 1))
        x, y = x[kept], y[kept]
    return RocLine(label, tuple(x.round(5).tolist()), tuple(y.round(5).tolist()), curve.auc)


def precision_recall_lines(table: Predictions, labels: list[str]) -> tuple[PrecisionRecallLine, ...]:
    """Precision over recall, one class against the rest; with two classes that of the second alone, as for ROC."""
    shown = _told(precision_recall_curves(table.outcomes.rankings()), table)
    return tuple(_thin_precision_recall(curve, labels[curve.label]) for curve in shown if curve is not None)


def _thin_precision_recall(curve: PrecisionRecallCurve, label: str) -> PrecisionRecallLine:
    places = np.unique(np.linspace(0, len(curve.recall) - 1, MAX_ROC_POINTS).astype(int)).tolist()
    recall, precision = (tuple(line[place] for place in places) for line in (curve.recall, curve.precision))
    return PrecisionRecallLine(label, recall, precision, curve.average_precision, curve.prevalence)


def confusion_figure(run: RunData, most: int = MAX_PANELS) -> ConfusionMatrices | None:
    """The confusion matrices of the main split, of at most `most` languages."""
    shown, full = shown_languages(run, most), [code for code, each in ranked(run).items() if each.confusion and each.n]
    panels = tuple(
        ConfusionPanel(
            language,
            run.main[language].n,
            _accuracy(run.main[language].confusion),
            tuple(tuple(row) for row in run.main[language].confusion),
        )
        for language in full
        if language in shown
    )
    if not panels:
        return None
    left_out = tuple(language for language in full if language not in shown)
    return ConfusionMatrices(str(run.main_split), tuple(run.manifest.labels), panels, left_out)


def _accuracy(confusion: list[list[int]]) -> float:
    total = sum(map(sum, confusion))
    return sum(confusion[index][index] for index in range(len(confusion))) / total if total else 0.0


def calibration_figure(run: RunData) -> Calibration | None:
    """Stated confidence against accuracy, per language on the main split."""
    tables, left_out = _shown_tables(run)
    found = [calibration_panel(language, table) for language, table in tables.items()]
    panels = tuple(each for each in found if each is not None)
    return Calibration(str(run.main_split), panels, left_out) if panels else None


def calibration_panel(language: str, table: Predictions) -> CalibrationPanel | None:
    """The bins that hold answers, each with the Wilson interval of its accuracy; None where there are no probabilities.

    Of several labels each annotated one is an answer, yes or no.
    """
    stated = table.outcomes.stated()
    if stated is None:
        return None
    return CalibrationPanel(
        language,
        len(table),
        expected_calibration_error(stated),
        chance_error(stated),
        tuple(_bin(each) for each in reliability(stated) if each.n),
    )


def _bin(each: ReliabilityBin) -> CalibrationBin:
    accuracy, confidence = float(each.accuracy or 0.0), float(each.confidence or 0.0)
    low, high = wilson(accuracy, each.n)
    return CalibrationBin(confidence, Estimate(accuracy, low, high, each.n))


def wilson(share: float, n: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a share of n (Wilson 1927)."""
    centre = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)
