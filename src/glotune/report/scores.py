"""Scores as a report writes them: in the metric's unit, with their intervals."""

from __future__ import annotations

import math

from glotune.run.records import Evaluation, Interval
from glotune.stats.traits import TRAITS, trait
from glotune.words import NOTHING


def display(metric: str) -> str:
    """The metric's name in tables and figures."""
    return TRAITS[metric].display if metric in TRAITS else metric.replace("_", " ")


def in_a_sentence(metric: str) -> str:
    """Its name inside a sentence: ``macro-F1``; abbreviations and people's names stay as they are."""
    name = display(metric)
    return (
        name
        if name[1:2].isupper() or name.startswith(("Pearson", "Spearman", "Jensen"))
        else name[0].lower() + name[1:]
    )


def number(metric: str, value: float | None) -> str:
    """A score as shown: shares as percent with one digit, the rest with three."""
    if value is None or not math.isfinite(value):
        return NOTHING
    known = TRAITS.get(metric)
    return f"{100 * value:.1f}" if known is None or known.is_percent else f"{value:.3f}"


def with_interval(evaluation: Evaluation, metric: str) -> str:
    """``61.2 [58.0, 64.3]``; without brackets where no interval is known."""
    return bracketed(metric, evaluation.scores.get(metric), evaluation.intervals.get(metric))


def bracketed(metric: str, value: float | None, interval: Interval | None) -> str:
    """A score with its interval, as `with_interval`."""
    shown = number(metric, value)
    if interval is None or shown == NOTHING:
        return shown
    return f"{shown} [{number(metric, interval.low)}, {number(metric, interval.high)}]"


def signed(metric: str, difference: float | None, interval: Interval | None) -> str:
    """``+8.1 [+3.0, +13.2]``, in points where the metric is a share; without brackets where no interval is known."""
    if difference is None:
        return NOTHING
    scale, digits = (100, 1) if trait(metric).is_percent else (1, 3)
    shown = f"{scale * difference:+.{digits}f}"
    if interval is None:
        return shown
    return f"{shown} [{scale * interval.low:+.{digits}f}, {scale * interval.high:+.{digits}f}]"
