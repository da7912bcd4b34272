"""The live monitor: runs on top, the chosen one below. Everything that it shows can be read without colour."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static, TabbedContent, TabPane
from textual.worker import Worker

from glotune.monitor import panes
from glotune.monitor.help import HelpScreen
from glotune.monitor.many import Fleet
from glotune.monitor.view import RunView
from glotune.tracking.system import SystemFigures

SECONDS = 1.0
"""Between two looks, or more where they are costly."""
TABS = ("curves", "languages", "checkpoints", "log")
NARROW = 80


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

    def __init__(self, views: list[RunView], machine: SystemFigures) -> None:
        super().__init__()
        self.views, self.machine = views, machine


class RunsScreen(Screen[None]):
    """Runs, facts of the chosen one, its tabs."""

    CSS = """
    #runs { height: auto; max-height: 35%; }
    #facts { height: auto; max-height: 40%; padding: 0 1; }
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
        self._machine: SystemFigures | None = None
        self._chosen: Path | None = None
        self._looking: Worker[None] | None = None
        self._narrow = False

    def compose(self) -> ComposeResult:
        """Runs, facts of the chosen one, its tabs."""
        yield DataTable(id="runs", cursor_type="row", zebra_stripes=False)
        yield Static(id="facts")
        with TabbedContent(id="tabs"):
            for number, name in enumerate(TABS, 1):
                with TabPane(f"{number} {name}", id=name), VerticalScroll():
                    yield Static(id=f"{name}-content")
        yield Footer()

    def on_mount(self) -> None:
        """Looks at once, then every second."""
        self.query_one(DataTable).focus()
        self._set_columns()
        self.look()
        self.set_interval(SECONDS, self.look)

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
        self._show(message.views, message.machine)

    def _set_columns(self) -> None:
        self._narrow = self.size.width < NARROW
        table = self.query_one(DataTable)
        table.clear(columns=True)
        for heading in panes.headings(self._narrow):
            table.add_column(heading, key=heading)

    def on_resize(self) -> None:
        """Columns that a narrow terminal has no room for go."""
        if self._narrow != (self.size.width < NARROW):
            self._set_columns()
        self._draw()

    def _show(self, views: list[RunView], machine: SystemFigures | None) -> None:
        if views is self._views:
            return
        begun = time.thread_time()
        self._views, self._machine = views, machine
        if self._chosen not in [view.path for view in views]:
            self._chosen = views[0].path if views else None
        self._draw()
        self._fleet.charge(time.thread_time() - begun)

    def _draw(self) -> None:
        table = self.query_one(DataTable)
        rows = [panes.row(view, self._narrow) for view in self._views]
        if [key.value for key in table.rows] != [str(view.path) for view in self._views]:
            table.clear()
            for view, cells in zip(self._views, rows, strict=True):
                table.add_row(*cells, key=str(view.path))
        for at, cells in enumerate(rows):
            for column, cell in enumerate(cells):
                table.update_cell_at((at, column), cell, update_width=True)  # type: ignore[arg-type,unused-ignore]
        chosen = self.chosen
        if chosen is not None:
            table.move_cursor(row=self._views.index(chosen))
        self._draw_chosen(chosen)

    @property
    def chosen(self) -> RunView | None:
        """The run that the tabs show."""
        return next((view for view in self._views if view.path == self._chosen), None)

    def _draw_chosen(self, view: RunView | None) -> None:
        width = max(30, self.size.width - 4)
        if view is None:
            self._put("facts", Text(f"No runs in {self._fleet.place} yet. Train one with: glotune quickstart"))
            for name in TABS:
                self._put(f"{name}-content", Text())
            return
        self._put("facts", panes.facts(view, self._machine, self._fleet.problems))
        self._put("curves-content", panes.curves(view, width))
        self._put("languages-content", panes.languages(view, width))
        self._put("checkpoints-content", panes.checkpoints(view))
        self._put("log-content", panes.log(view))

    def _put(self, name: str, content: RenderableType | Group) -> None:
        self.query_one(f"#{name}", Static).update(content)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """The cursor chooses the run."""
        value = event.row_key.value if event.row_key else None
        if value is not None and Path(value) != self._chosen:
            self._chosen = Path(value)
            self._draw_chosen(self.chosen)

    def action_tab(self, name: str) -> None:
        """Shows a tab."""
        self.query_one(TabbedContent).active = name

    def action_next_run(self) -> None:
        """The run below."""
        self.query_one(DataTable).action_cursor_down()

    def action_previous_run(self) -> None:
        """The run above."""
        self.query_one(DataTable).action_cursor_up()

    def action_help(self) -> None:
        """The keys."""
        self.app.push_screen(HelpScreen())
