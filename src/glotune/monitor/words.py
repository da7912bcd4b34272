"""Figures as a watcher says them. What is unknown is a dash."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from glotune.monitor.view import RunView

DASH = "-"


def duration(seconds: float | None) -> str:
    """``1 h 05 min``, ``5 min 09 s``, ``42 s``."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def score(value: float | None) -> str:
    """``0.6123``."""
    return DASH if value is None or not math.isfinite(value) else f"{value:.4f}"


def figure(value: float) -> str:
    """``0.412``, ``2e-05``."""
    return f"{value:.4g}" if math.isfinite(value) else "not finite"


def percent(share: float | None) -> str:
    """``76 %``."""
    return DASH if share is None else f"{100 * share:.0f} %"


def rate(value: float | None, unit: str) -> str:
    """``12,345 tokens/s``."""
    return DASH if value is None else f"{value:,.0f} {unit}/s"


def size(count: int) -> str:
    """``1.4 GiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def position(view: RunView) -> str:
    """``step 60 of 120, epoch 3 of 6``."""
    if not view.step:
        return "before its first step"
    steps = f"step {view.step}" + (f" of {view.total_steps}" if view.total_steps else "")
    return f"{steps}, epoch {view.epoch:.3g}" + (f" of {view.epochs}" if view.epochs else "")


def age(created: str, now: datetime | None = None) -> str:
    """How long ago a moment was: ``3 min ago``."""
    try:
        seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(created)).total_seconds()
    except (ValueError, TypeError):
        return DASH
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"
