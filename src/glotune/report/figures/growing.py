"""Curves that grow with a run and stay small: as many points as a screen can show, whatever the number of steps."""

from __future__ import annotations

import math
from collections.abc import Iterable

from glotune.report.figures.model import Curve

MOST = 512
"""Points that a curve keeps at most; a terminal of 250 columns has 500 dots across."""


class Growing:
    """Takes points one by one. When there are too many, neighbours become their mean: a point costs the same always."""

    def __init__(self) -> None:
        self._x: list[float] = []
        self._y: list[float] = []
        self._size = 1
        self._open: list[tuple[float, float]] = []
        self._first: tuple[float, float] | None = None
        self._newest: tuple[float, float] | None = None
        self._low = self._high = self._last = math.nan

    def add(self, x: float, y: float) -> None:
        """One more point, to the right of those before it; what is not finite leaves a gap."""
        self._last = y
        if not (math.isfinite(x) and math.isfinite(y)):
            return
        self._newest = (x, y)
        self._first = self._first or (x, y)
        self._low = y if math.isnan(self._low) else min(self._low, y)
        self._high = y if math.isnan(self._high) else max(self._high, y)
        self._open.append((x, y))
        if len(self._open) == self._size:
            self._close()

    def curve(self) -> Curve:
        """As it stands."""
        if self._first is None or self._newest is None:
            return Curve(last=self._last)
        points = list(zip(self._x, self._y, strict=True))
        if self._open:
            points.append(_mean(self._open))
        if self._size > 1:
            points = [self._first, *points, self._newest]
        return Curve(tuple(points), self._low, self._high, self._last)

    def _close(self) -> None:
        x, y = _mean(self._open)
        self._open.clear()
        self._x.append(x)
        self._y.append(y)
        if len(self._x) == MOST:
            self._x, self._y = _halved(self._x), _halved(self._y)
            self._size *= 2


def curve_of(points: Iterable[tuple[float, float]]) -> Curve:
    """Of a whole series."""
    growing = Growing()
    for x, y in points:
        growing.add(x, y)
    return growing.curve()


def _mean(points: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def _halved(values: list[float]) -> list[float]:
    return [(left + right) / 2 for left, right in zip(values[::2], values[1::2], strict=True)]
