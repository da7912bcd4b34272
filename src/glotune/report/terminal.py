"""Curves in text. Every chart reads without colour: one curve a chart, its ends and extremes written out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from glotune.report.figures.model import Curve

BLOCKS, PLAIN_BLOCKS = "▁▂▃▄▅▆▇█", "_.-~=+*#"
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille character by row and column (Unicode block U+2800)."""


def sparkline(values: Sequence[float], width: int, low: float, high: float, *, plain: bool = False) -> str:
    """One line of `width` characters at most: the last value of each share; a gap where it is not finite."""
    signs = PLAIN_BLOCKS if plain else BLOCKS
    shown = thin(list(values), width)
    span = (high - low) or 1.0
    return "".join(
        signs[min(len(signs) - 1, max(0, int((value - low) / span * len(signs))))] if math.isfinite(value) else " "
        for value in shown
    )


def thin(values: list[float], width: int) -> list[float]:
    """At most `width` of the values, evenly, the last one always among them."""
    if len(values) <= width:
        return values
    return [values[(index + 1) * len(values) // width - 1] for index in range(width)]


def plot(curve: Curve, width: int, height: int, *, plain: bool = False) -> list[str]:
    """A curve as `height` lines of text under a line for x, with the y range on the left.

    Args:
        curve: what to draw.
        width: columns, labels included.
        height: lines of the drawing, without the x axis.
        plain: ASCII only.
    """
    if not curve.points:
        return ["no data yet"]
    points = sorted(curve.points)  # a damaged run's steps may stand in any order
    left, right = points[0][0], points[-1][0]
    labels = [_label(curve.high), _label(curve.low)]
    margin = max(map(len, labels)) + 2
    columns = max(8, width - margin)
    canvas = _Canvas(columns, height, left, right, curve.low, curve.high)
    canvas.draw(_thinned(points, 2 * columns))
    lines = []
    for row, drawn in enumerate(canvas.lines(plain)):
        label = labels[0] if row == 0 else labels[1] if row == height - 1 else ""
        lines.append(f"{label:>{margin - 2}} {'|' if plain else '│'}{drawn}".rstrip())
    first, last = f"{left:g}", f"{right:g}"
    gap = columns - len(first) - len(last)
    lines.append(" " * margin + first + (" " * gap + last if gap > 0 and first != last else ""))
    return lines


def _thinned(points: Sequence[tuple[float, float]], buckets: int) -> Sequence[tuple[float, float]]:
    """The mean of each bucket: a noisy curve stays readable when many steps share a column."""
    if len(points) <= buckets:
        return points
    thinned = []
    for index in range(buckets):
        part = points[index * len(points) // buckets : (index + 1) * len(points) // buckets]
        thinned.append((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)))
    return thinned


class _Canvas:
    """Marks in character cells of 2 by 4 dots; ASCII takes one sign a cell."""

    def __init__(self, columns: int, rows: int, left: float, right: float, low: float, high: float) -> None:
        self.columns, self.rows = columns, rows
        self._left, self._width = left, (right - left) or 1.0
        self._low, self._span = low, (high - low) or 1.0
        self._cells = [[0] * columns for _ in range(rows)]

    def draw(self, points: Sequence[tuple[float, float]]) -> None:
        """A line through the points."""
        dots = [self._dot(x, y) for x, y in points]
        for (across, down), (next_across, next_down) in zip(dots, [*dots[1:], dots[-1]], strict=True):
            if next_across - across <= 1:  # nearly all of a long curve: half of the way in either column
                middle = (down + next_down) // 2
                self._mark(across, down, middle)
                self._mark(next_across, middle, next_down)
                continue
            slope = (next_down - down) / (next_across - across)
            for column in range(across, next_across + 1):
                begin, end = (
                    slope * (at - across) for at in (max(column - 0.5, across), min(column + 0.5, next_across))
                )
                self._mark(column, down + round(begin), down + round(end))

    def _dot(self, x: float, y: float) -> tuple[int, int]:
        across = round((x - self._left) / self._width * (2 * self.columns - 1))
        return across, round((1 - (y - self._low) / self._span) * (4 * self.rows - 1))

    def _mark(self, across: int, down: int, until: int) -> None:
        """The dots of one column from one row to another, whichever is the upper one."""
        cells, cell, side = self._cells, across // 2, across % 2
        for row in range(down, until + 1) if down <= until else range(until, down + 1):
            cells[row // 4][cell] |= _DOTS[row % 4][side]

    def lines(self, plain: bool) -> list[str]:
        if plain:
            return ["".join("*" if cell else " " for cell in row) for row in self._cells]
        return ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in self._cells]


def _label(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1e-3 or abs(value) >= 1000 else f"{value:.4f}".rstrip("0").rstrip(".")
