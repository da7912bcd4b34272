"""Many runs at once: each keeps its watcher, new ones appear, deleted ones go."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

from glotune.errors import UserError
from glotune.monitor.view import RunView
from glotune.monitor.watcher import Watcher
from glotune.run.directory import RunDirectory
from glotune.run.state import State, find_runs, read_holder
from glotune.run.system import Probe, SystemMetrics

FIND_SECONDS = 10.0
"""Between two searches of the folders for runs that are new or gone."""
OVER = {State.COMPLETE, State.FAILED, State.INTERRUPTED, State.PRUNED}


class Fleet:
    """The runs of a place."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.problems: list[str] = []
        self._found: list[RunDirectory] = []
        self._not_found: list[str] = []
        """A line for each folder that can't be read."""
        self._found_at = -math.inf
        self._watchers: dict[Path, Watcher] = {}
        self._known: dict[Path, tuple[int, RunView]] = {}
        self._probe = Probe()

    def look(self) -> tuple[list[RunView], SystemMetrics]:
        """Every run, running ones first, then newest first; and the machine. Runs that did not change are the same
        objects as at the last look."""
        views, found = [], self._find()
        self.problems = [*self._not_found]
        for run in found:
            try:
                views.append(self._view(run))
            except (UserError, OSError) as error:
                self.problems.append(str(error))
        views.sort(key=lambda view: view.created, reverse=True)
        views.sort(key=lambda view: view.state is not State.RUNNING)
        return views, self._probe.look(self._pid(views))

    def expire(self) -> None:
        """The next look searches the folders again."""
        self._found_at = -math.inf

    def _find(self) -> list[RunDirectory]:
        """The runs there are, as of a few seconds ago at most; one that is gone is gone at once."""
        gone = any(not os.path.isfile(run.manifest_path) for run in self._found)  # noqa: PTH113 - or can't be read
        if gone or time.monotonic() - self._found_at >= FIND_SECONDS:
            self._not_found = []
            try:
                self._found = find_runs(self.place, trials=True, problems=self._not_found)
            except UserError as error:
                self._found, self._not_found = [], [str(error)]
            self._found_at = time.monotonic()
            paths = {run.path for run in self._found}
            self._watchers = {path: watcher for path, watcher in self._watchers.items() if path in paths}
            self._known = {path: known for path, known in self._known.items() if path in paths}
        return self._found

    def _view(self, run: RunDirectory) -> RunView:
        """A run that is over is read again only when its manifest changes."""
        stamp = run.manifest_path.stat().st_mtime_ns
        known = self._known.get(run.path)
        if known is not None and known[0] == stamp and known[1].state in OVER:
            return known[1]
        if run.path not in self._watchers:
            self._watchers[run.path] = Watcher(run)
        view = self._watchers[run.path].look()
        self._known[run.path] = (stamp, view)
        return view

    def _pid(self, views: list[RunView]) -> int | None:
        """The process of the one run that is running; None where several share the machine."""
        running = [view for view in views if view.state is State.RUNNING]
        holder = read_holder(RunDirectory(running[0].path).lock) if len(running) == 1 else None
        return holder.pid if holder else None
