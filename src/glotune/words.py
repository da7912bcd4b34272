"""Numbers, times, sizes, languages and foreign texts as people read them: one way in logs, tables, pages, the monitor.

What is not known, or not finite, is `NOTHING`.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TypeGuard

from glotune.languages import find_language

NOTHING = "–"
_MARKDOWN = re.compile(r"([\\`*_<>#|~$]|\](?=[(\[:]))")


def count(value: float | None) -> str:
    """``1234567`` -> ``1,234,567``; a mean of counts is rounded."""
    return f"{value:,.0f}" if _is_known(value) else NOTHING


def counted(number_of: int, noun: str) -> str:
    """``1 thread``, ``2 threads``."""
    return f"{number_of:,} {noun}" + ("" if number_of == 1 else "s")


def millions(value: float | None) -> str:
    """``278045955`` -> ``278.0 M``; what is less than a million in full."""
    return f"{value / 1e6:,.1f} M" if _is_known(value) and value >= 1e6 else count(value)


def percent(share: float | None, digits: int = 1) -> str:
    """``0.0123`` -> ``1.2 %``."""
    return f"{100 * share:.{digits}f} %" if _is_known(share) else NOTHING


def score(value: float | None) -> str:
    """A loss or score while a run goes on: ``0.6123``."""
    return f"{value:.4f}" if _is_known(value) else NOTHING


def rate(value: float | None, unit: str) -> str:
    """``12,345 tokens/s``."""
    return f"{value:,.0f} {unit}/s" if _is_known(value) else NOTHING


def duration(seconds: float | None) -> str:
    """``0.031 s``, ``4.2 s``, ``42 s``, ``5 min 9 s``, ``1 h 5 min``: two digits, or the two largest units."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 9.95:  # 9.96 in two digits is ten seconds, which are whole ones
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two_units(whole // 60, "min", whole % 60, "s")
    minutes = round(whole / 60)
    return _two_units(minutes // 60, "h", minutes % 60, "min")


def _two_units(large: int, unit: str, small: int, smaller_unit: str) -> str:
    return f"{large} {unit}" + (f" {small} {smaller_unit}" if small else "")


def age(created: str, now: datetime | None = None) -> str:
    """How long ago a moment (ISO 8601) was, in its largest unit: ``3 min ago``."""
    try:
        seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(created)).total_seconds()
    except (ValueError, TypeError):
        return NOTHING
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


def size(byte_count: float | None) -> str:
    """``17179869184`` -> ``16.0 GiB``. Binary units, as in the records (``memory_gib``) and in what systems report."""
    if byte_count is None or not math.isfinite(byte_count):
        return NOTHING
    if round(byte_count) < 1024:
        return f"{byte_count:.0f} B"
    for unit in ("KiB", "MiB"):
        byte_count /= 1024
        if round(byte_count, 1) < 1024:
            return f"{byte_count:.1f} {unit}"
    return f"{byte_count / 1024:,.1f} GiB"


def gib(value: float | None) -> str:
    """`size` of what is recorded in GiB."""
    return size(value * 2**30) if _is_known(value) else NOTHING


def language_name(code: str) -> str:
    """English name, a script or region in brackets: ``Bangla``, ``Chinese (TW)``; the code where it has no name."""
    language = find_language(code)
    if language is None:
        return code
    _, _, rest = code.replace("_", "-").partition("-")
    return f"{language.name} ({rest})" if rest else language.name


def named(code: str) -> str:
    """The name with the code: ``Bangla (bn)``, ``Chinese (zh-TW)``; the bare code where it has no name."""
    language = find_language(code)
    return code if language is None else f"{language.name} ({code})"


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


def _is_known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
