"""The live monitor: runs on top, the chosen one below. Everything that it shows can be read without colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen, Screen
from textual.timer import Timer
from textual.widgets import Footer, Static, TabbedContent, TabPane
from textual.worker import Worker

from glotune.monitor import panes
from glotune.monitor.lines import Lines
from glotune.monitor.many import Fleet
from glotune.monitor.table import RunsTable
from glotune.monitor.view import Polling, RunView
from glotune.run.system import SystemMetrics

TABS = ("curves", "languages", "checkpoints", "log")
NARROW = 80
PADDING = 1


class MonitorApp(App[None]):
    """Watches the runs of one place."""

    TITLE = "glotune monitor"
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, place: Path) -> None:
        super().__init__()
        self.place = place

    def on_mount(self) -> None:
        """One screen; help comes over it."""
        self.push_screen(RunsScreen(self.place))


class Looked(Message):
    """A look is done."""

    def __init__(self, views: list[RunView], machine: SystemMetrics) -> None:
        super().__init__()
        self.views, self.machine = views, machine


class RunsScreen(Screen[None]):
    """Runs, facts of the chosen one, its tabs."""

    CSS = """
    #place { height: auto; max-height: 35%; }
    #headings, #facts { padding: 0 1; }
    #facts { max-height: 40%; }
    TabbedContent { height: 1fr; }
    VerticalScroll { padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "app.quit", "Quit"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("n", "next_run", "Next run"),
        Binding("p", "previous_run", "Previous", show=False),
        *[Binding(str(number), f"tab('{name}')", name.capitalize()) for number, name in enumerate(TABS, 1)],
    ]

    def __init__(self, place: Path) -> None:
        super().__init__()
        self._fleet = Fleet(place)
        self._views: list[RunView] = []
        self._machine: SystemMetrics | None = None
        self._chosen: Path | None = None
        self._looking: Worker[None] | None = None
        self._pace = Polling()
        self._next: Timer | None = None
        self._drawn: dict[str, tuple[object, ...]] = {}
        """What each part shows was made from; while that is the same, the part is left alone."""

    def compose(self) -> ComposeResult:
        """Runs, facts of the chosen one, its tabs."""
        yield Lines(id="headings")
        with VerticalScroll(id="place", can_focus=False):
            yield RunsTable(id="runs")
        yield Lines(id="facts", wrap=True)
        with TabbedContent(id="tabs"):
            for number, name in enumerate(TABS, 1):
                with TabPane(f"{number} {name}", id=name), VerticalScroll():
                    if name in ("curves", "log"):
                        yield Lines(id=f"{name}-content", wrap=name == "log")
                    else:
                        yield Static(id=f"{name}-content")
        yield Footer()

    def on_mount(self) -> None:
        """Looks at once; every look sets the time of the next one."""
        self.query_one(RunsTable).focus()
        self._pace.start()
        self.look()

    def look(self) -> None:
        """Reads the runs in a thread, so that a slow disk never freezes the keys."""
        if self._looking is None or self._looking.is_finished:
            self._looking = self.run_worker(self._look, thread=True)

    def _look(self) -> None:
        """In the thread. The result is posted, not handed over: a thread that waited for an app that is closing would
        keep it from closing."""
        self.post_message(Looked(*self._fleet.look()))

    def on_looked(self, message: Looked) -> None:
        """Draws what a look has found."""
        changed = len(message.views) != len(self._views) or any(
            new is not old for new, old in zip(message.views, self._views, strict=True)
        )
        self._views, self._machine = message.views, message.machine
        if self._chosen not in [view.path for view in self._views]:
            self._chosen = self._views[0].path if self._views else None
        self._draw()
        self._pace.looked(changed)
        if self._next is not None:
            self._next.stop()
        self._next = self.set_timer(self._pace.wait, self.look)

    def on_resize(self) -> None:
        """Columns that a narrow terminal has no room for go."""
        self._draw()

    def _draw(self) -> None:
        table, chosen = self.query_one(RunsTable), self.chosen
        width = self.size.width
        narrow = width < NARROW
        headings = table.fill(
            panes.headings(narrow),
            [panes.row(view, narrow) for view in self._views],
            self._views.index(chosen) if chosen is not None else 0,
            width - 2 * PADDING,
        )
        self.query_one("#headings", Lines).show([headings] if self._views else [])
        self._draw_chosen(chosen)

    @property
    def chosen(self) -> RunView | None:
        """The run that the tabs show."""
        return next((view for view in self._views if view.path == self._chosen), None)

    def _draw_chosen(self, view: RunView | None) -> None:
        """The facts, and the tab that can be seen: the others are drawn when they are asked for."""
        facts = self.query_one("#facts", Lines)
        if view is None:
            hint = f"No runs in {self._fleet.place} yet. Train one with: glotune quickstart"
            facts.show([Text(hint), *map(Text, self._fleet.problems)])
        else:
            facts.show(panes.facts(view, self._machine, self._fleet.problems))
        width, tab = max(30, self.size.width - 4), self.query_one(TabbedContent).active
        if view is None:
            self._put(tab, (None,), lambda: [] if tab in ("curves", "log") else Text())
        elif tab == "curves":
            self._put(tab, (view.path, view.loss, view.validation_loss, width), lambda: panes.curves(view, width))
        elif tab == "languages":
            self._put(tab, (view.path, view.languages, width), lambda: panes.languages(view, width))
        elif tab == "checkpoints":
            self._put(tab, (view.path, view.checkpoints), lambda: panes.checkpoints(view))
        elif tab == "log":
            self._put(tab, (view.path, view.notices, view.log), lambda: panes.log(view))

    def _put(self, tab: str, rests_on: tuple[object, ...], make: Callable[[], RenderableType | list[Text]]) -> None:
        if self._drawn.get(tab) == rests_on:
            return
        self._drawn[tab] = rests_on
        content, place = make(), self.query_one(f"#{tab}-content")
        if isinstance(place, Lines) and isinstance(content, list):
            place.show(content)
        elif isinstance(place, Static) and not isinstance(content, list):
            place.update(content)

    def on_tabbed_content_tab_activated(self) -> None:
        """Draws the tab that has come to the front."""
        self._draw_chosen(self.chosen)

    def on_runs_table_chosen(self, event: RunsTable.Chosen) -> None:
        """The cursor chooses the run."""
        if event.row < len(self._views):
            self._chosen = self._views[event.row].path
            self._draw()

    def action_tab(self, name: str) -> None:
        """Shows a tab."""
        self.query_one(TabbedContent).active = name

    def action_next_run(self) -> None:
        """The run below."""
        self.query_one(RunsTable).action_move(1)

    def action_previous_run(self) -> None:
        """The run above."""
        self.query_one(RunsTable).action_move(-1)

    def action_help(self) -> None:
        """The keys."""
        self.app.push_screen(HelpScreen())


KEYS = """\
glotune monitor: keys

up, down  choose a run (or p, n)
1         curves of loss and rate
2         scores by language
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
