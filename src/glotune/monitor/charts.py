"""Curves in text. Every chart reads without colour: one curve a chart, its ends and extremes written out."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def plot(points: Sequence[tuple[float, float]], width: int, height: int, *, plain: bool = False) -> list[str]:
    """A curve as `height` lines of text under a line for x, with the y range on the left.

    Args:
        points: (x, y) in order of x; what is not finite leaves a gap.
        width: columns, labels included.
        height: lines of the drawing, without the x axis.
        plain: ASCII only.
    """
    known = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not known:
        return ["no data yet"]
    low, high = min(y for _, y in known), max(y for _, y in known)
    labels = [_label(high), _label(low)]
    margin = max(map(len, labels)) + 2
    columns = max(8, width - margin)
    canvas = _Canvas(columns, height, min(x for x, _ in known), max(x for x, _ in known), low, high)
    canvas.draw(_thinned(known, 2 * columns))
    lines = []
    for row, drawn in enumerate(canvas.lines(plain)):
        label = labels[0] if row == 0 else labels[1] if row == height - 1 else ""
        lines.append(f"{label:>{margin - 2}} {'|' if plain else '│'}{drawn}".rstrip())
    first, last = f"{known[0][0]:g}", f"{known[-1][0]:g}"
    gap = columns - len(first) - len(last)
    lines.append(" " * margin + first + (" " * gap + last if gap > 0 and first != last else ""))
    return lines


def _thinned(points: list[tuple[float, float]], buckets: int) -> list[tuple[float, float]]:
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

    def draw(self, points: list[tuple[float, float]]) -> None:
        """A line through the points."""
        dots = [self._dot(x, y) for x, y in points]
        for (across, down), (next_across, next_down) in zip(dots, [*dots[1:], dots[-1]], strict=True):
            pieces = max(abs(next_across - across), abs(next_down - down), 1)
            for piece in range(pieces + 1):
                share = piece / pieces
                self._mark(round(across + share * (next_across - across)), round(down + share * (next_down - down)))

    def _dot(self, x: float, y: float) -> tuple[int, int]:
        across = round((x - self._left) / self._width * (2 * self.columns - 1))
        return across, round((1 - (y - self._low) / self._span) * (4 * self.rows - 1))

    def _mark(self, across: int, down: int) -> None:
        across, down = min(max(across, 0), 2 * self.columns - 1), min(max(down, 0), 4 * self.rows - 1)
        self._cells[down // 4][across // 2] |= _DOTS[down % 4][across % 2]

    def lines(self, plain: bool) -> list[str]:
        if plain:
            return ["".join("*" if cell else " " for cell in row) for row in self._cells]
        return ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in self._cells]


def _label(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1e-3 or abs(value) >= 1000 else f"{value:.4f}".rstrip("0").rstrip(".")
