"""The keys of the live monitor."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

KEYS = """\
glotune monitor: keys

up, down  choose a run (or p, n)
1         curves of loss and rate
2         languages: macro F1
3         checkpoints, best marked
4         last lines of the log
tab       from runs to tabs
pg up/dn  scroll
?         this help
q         quit; the runs go on

It reads run directories and
never writes to them.

Stop a run:   glotune stop RUN
Snapshot:     add --once
In a browser: add --web
No colour:    set NO_COLOR=1

Escape closes this help."""


class HelpScreen(ModalScreen[None]):
    """A page over the app."""

    CSS = """
    HelpScreen { align: center middle; }
    HelpScreen VerticalScroll {
        width: 64; max-width: 96%; height: auto; max-height: 96%;
        border: round; padding: 1 2; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q", "dismiss", "Close", key_display="esc"),
    ]

    def compose(self) -> ComposeResult:
        """The text."""
        with VerticalScroll():
            yield Static(KEYS, markup=False)
