"""Text that is drawn line by line: of a screen that changes every few seconds, only the lines that differ."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

Line = tuple[tuple[str, Style], ...]
"""Pieces of text, each in its style."""
PLAIN = Style()


class Lines(Widget):
    """Shows lines as they are, or paragraphs wrapped to its width."""

    DEFAULT_CSS = "Lines { height: auto; }"

    def __init__(self, *, id: str, wrap: bool = False) -> None:
        super().__init__(id=id)
        self._wrap = wrap
        self._paragraphs: Sequence[Text] = ()
        self._lines: list[Line] = []
        self._width = 0

    def show(self, paragraphs: Sequence[Text]) -> None:
        """Shows these from now on; each has one style."""
        self._paragraphs = paragraphs
        self._show(self._broken(self._width))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Lines at that width."""
        if width != self._width:
            self._width = width
            self._lines = self._broken(width)
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        """One of them."""
        base = self.rich_style
        line = self._lines[y] if y < len(self._lines) else ()
        return Strip([Segment(text, base + style if style is not PLAIN else base) for text, style in line])

    def _show(self, lines: list[Line]) -> None:
        """Asks for those to be drawn that differ, and for a new layout only where their number does."""
        old, self._lines = self._lines, lines
        if len(old) != len(lines):
            self.refresh(layout=True)
            return
        changed = [at for at, line in enumerate(lines) if line != old[at]]
        if changed:
            self.refresh(*(Region(0, at, self.size.width, 1) for at in changed))

    def _broken(self, width: int) -> list[Line]:
        lines: list[Line] = []
        for paragraph in self._paragraphs:
            style = Style.parse(paragraph.style) if isinstance(paragraph.style, str) else paragraph.style
            style = style or PLAIN
            wrap = self._wrap and 0 < width < paragraph.cell_len
            parts = paragraph.wrap(_CONSOLE, width) if wrap else [paragraph]
            lines += [((part.plain, style),) for part in parts]
        return lines


_CONSOLE = Console(force_terminal=False)
"""Rich wants one to wrap with; nothing is written to it."""
