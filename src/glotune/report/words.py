"""Numbers and texts as a report writes them."""

from __future__ import annotations

import math
import re

from glotune.run.records import Evaluation, Interval
from glotune.stats.traits import TRAITS

NOTHING = "–"
_MARKDOWN = re.compile(r"([\\`*_<>#|~$]|\](?=[(\[:]))")


def escaped(text: str) -> str:
    """Foreign text as Markdown that shows itself: no markup, no table cell or line of its own."""
    flat = " ".join(text.split())
    return _MARKDOWN.sub(r"\\\1", flat)


def code(text: str) -> str:
    """Foreign text as inline code; safe in a table."""
    flat = " ".join(text.split()).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall(r"`+", flat)), default=0) + 1)
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


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


def percent(share: float | None, digits: int = 1) -> str:
    """``0.0123`` -> ``1.2 %``."""
    return NOTHING if share is None else f"{100 * share:.{digits}f} %"


def count(value: float | None) -> str:
    """``1234567`` -> ``1,234,567``."""
    return NOTHING if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.0f}"


def counted(number_of: int, noun: str) -> str:
    """``1 thread``, ``2 threads``."""
    return f"{number_of:,} {noun}" + ("" if number_of == 1 else "s")


def millions(value: float | None) -> str:
    """``278045955`` -> ``278.0 M``; small numbers as they are."""
    if value is None:
        return NOTHING
    return f"{value / 1e6:,.1f} M" if value >= 1e6 else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """``3725`` -> ``1 h 2 min``."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def size(byte_count: float | None) -> str:
    """``17179869184`` -> ``16.0 GiB``."""
    if byte_count is None:
        return NOTHING
    for unit in ("B", "KiB", "MiB"):
        if byte_count < 1024:
            return f"{byte_count:.0f} {unit}" if unit == "B" else f"{byte_count:.1f} {unit}"
        byte_count /= 1024
    return f"{byte_count:.1f} GiB"


def plain(value: object) -> str:
    """A recipe value as a reader writes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or NOTHING
    if isinstance(value, dict):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) or NOTHING
    return NOTHING if value is None else str(value)
