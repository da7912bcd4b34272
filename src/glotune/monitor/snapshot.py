"""Prints what there is to see of a run, or of every run in a folder."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console, RenderableType

from glotune.errors import UserError
from glotune.monitor.once import is_plain, run_page, runs_table
from glotune.monitor.view import RunView
from glotune.monitor.watcher import Watcher
from glotune.run.directory import RunDirectory
from glotune.run.state import State, find_runs, read_holder
from glotune.run.system import Probe, SystemMetrics
from glotune.words import NOTHING

LOOK_SECONDS = 0.2
"""The processor's use is measured over so long."""


def look_at(place: Path) -> tuple[list[RunView], list[str]]:
    """The runs of a place, newest first, and a line for each that can't be read."""
    views, problems = [], []
    for run in find_runs(place):
        try:
            views.append(Watcher(run).look())
        except UserError as error:
            problems.append(str(error))
    return sorted(views, key=lambda view: view.created, reverse=True), problems


def print_snapshot(place: Path) -> None:
    """To stdout: the page of one run, or the table of many followed by the pages of those that are running."""
    from glotune.cli.console import out, say

    views, problems = look_at(place)
    for problem in problems:
        say(problem)
    single = (place / "manifest.json").is_file()
    if not single:
        _print(out, runs_table(views, place, out.width))
    for view in views:
        if single or view.state is State.RUNNING:
            if not single:
                out.print()
            _print(out, run_page(view, _machine(view), out.width, plain=is_plain(out)))


def _print(out: Console, shown: RenderableType) -> None:
    """Where only ASCII may be written, the dash of what is not known is a hyphen, and other signs question marks."""
    if not is_plain(out):
        out.print(shown)
        return
    with out.capture() as drawn:
        out.print(shown)
    text = drawn.get().replace(NOTHING, "-").encode("ascii", errors="replace").decode("ascii")
    out.print(text, end="", soft_wrap=True)


def _machine(view: RunView) -> SystemMetrics | None:
    """Figures of this machine, where the run is on it."""
    import time

    if view.state is not State.RUNNING:
        return None
    probe = Probe()
    time.sleep(LOOK_SECONDS)
    holder = read_holder(RunDirectory(view.path).lock)
    return probe.look(holder.pid if holder else None)
