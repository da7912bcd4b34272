"""The table of runs: one line a run, a cursor that chooses, columns that fit their terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message

from glotune.monitor.lines import PLAIN, Line, Lines

GAP = "  "
SHORTEST_NAME = 12
MARK = Style(reverse=True)


class RunsTable(Lines):
    """Rows below a line of headings, which another widget shows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "move(-10)", show=False),
        Binding("pagedown", "move(10)", show=False),
        Binding("home", "move(-100000)", show=False),
        Binding("end", "move(100000)", show=False),
    ]

    class Chosen(Message):
        """The cursor has moved to another row."""

        def __init__(self, row: int) -> None:
            super().__init__()
            self.row = row

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.can_focus = True
        self.cells: list[list[str]] = []
        self.cursor = 0

    def fill(self, headings: Sequence[str], rows: Sequence[Sequence[Text]], cursor: int, width: int) -> Text:
        """Shows these rows, the cursor on one of them; returns the line of headings that stands over them."""
        self.cells = [[cell.plain for cell in row] for row in rows]
        if cursor != self.cursor:
            self.cursor = cursor
            self._keep_in_sight()
        widths = [max(map(cell_len, column)) for column in zip(headings, *self.cells, strict=True)]
        spare = width - sum(widths[1:]) - len(GAP) * (len(widths) - 1)
        widths[0] = min(widths[0], max(SHORTEST_NAME, spare))
        lines = []
        for at, row in enumerate(rows):
            styles = [Style.parse(str(cell.style)) if cell.style else PLAIN for cell in row]
            pieces = [
                (_fitted(cell.plain, size) + GAP, style) for cell, size, style in zip(row, widths, styles, strict=True)
            ]
            lines.append(_marked(pieces) if at == cursor else tuple(pieces))
        self._show(lines)
        return Text(GAP.join(map(_fitted, headings, widths)), style="bold")

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """A line a run: nothing is wrapped."""
        return len(self._lines)

    def action_move(self, rows: int) -> None:
        """Moves the cursor, as far as there are rows."""
        self._choose(min(max(self.cursor + rows, 0), len(self.cells) - 1))

    def on_click(self, event: events.Click) -> None:
        """The run under the mouse."""
        if event.y < len(self.cells):
            self._choose(event.y)

    def _choose(self, row: int) -> None:
        if self.cells and row != self.cursor:
            self.cursor = row
            self._keep_in_sight()
            self.post_message(self.Chosen(row))

    def _keep_in_sight(self) -> None:
        """Scrolls to the cursor, where there are more runs than lines."""
        parent = self.parent
        if parent is not None and hasattr(parent, "scroll_to_region"):
            parent.scroll_to_region(Region(0, self.cursor, 1, 1), animate=False)


def _marked(pieces: Sequence[tuple[str, Style]]) -> Line:
    """One bar: the reverse of every style would be a patchwork."""
    return tuple((text, MARK) for text, _ in pieces)


def _fitted(text: str, width: int) -> str:
    """Padded, or cut with a sign that it is."""
    return set_cell_size(text, width) if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"
