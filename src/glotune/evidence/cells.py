"""Cells and tables: a text for people, a number for sorting and export, and whether it is the best."""

from __future__ import annotations

import math
from dataclasses import dataclass

from glotune.stats.traits import TRAITS
from glotune.words import NOTHING


@dataclass(frozen=True)
class Cell:
    """One entry of a table."""

    text: str
    value: float | None = None
    """Raw; None for words."""
    is_best: bool = False
    """Best, by a lead beyond its interval: set in bold."""
    href: str | None = None
    """The file that it leads to."""


@dataclass(frozen=True)
class Column:
    """One column."""

    name: str
    is_numeric: bool = True
    note: str = ""


@dataclass(frozen=True)
class ComparisonTable:
    """A titled table with notes below it."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


def word(text: object) -> Cell:
    """A cell of words."""
    return Cell(str(text) if text not in (None, "") else NOTHING)


def figure(value: float | int | None, form: str = "g") -> Cell:
    """A cell of a plain number."""
    return Cell(NOTHING) if value is None else Cell(f"{value:{form}}", float(value))


def score(metric: str, value: float | None, is_best: bool = False) -> Cell:
    """A cell of a score: shares as percent."""
    if value is None or not math.isfinite(value):
        return Cell(NOTHING)
    return Cell(shown(metric, value), value, is_best)


def is_percent(metric: str) -> bool:
    """Whether a metric is shown times 100."""
    return metric not in TRAITS or TRAITS[metric].is_percent


def shown(metric: str, value: float, sign: str = "") -> str:
    """A raw value as shown, e.g. ``61.2``; with ``sign="+"`` a difference."""
    return f"{100 * value:{sign}.1f}" if is_percent(metric) else f"{value:{sign}.3f}"


def unit(metric: str) -> str:
    """``%`` or the metric's own unit."""
    return "%" if is_percent(metric) else TRAITS[metric].unit


def display(metric: str) -> str:
    """The metric's name."""
    return TRAITS[metric].display if metric in TRAITS else metric
