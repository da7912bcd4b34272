"""Many runs at once: each keeps its watcher, new ones appear, deleted ones go."""

from __future__ import annotations

import time
from pathlib import Path

from glotune.errors import UserError
from glotune.monitor.view import RunView
from glotune.monitor.watcher import Watcher
from glotune.run_dir import RunDirectory
from glotune.run_state import State, find_runs, read_holder
from glotune.tracking.system import Probe, SystemFigures

SHARE = 0.01
"""Most of one core's time that looking may take: a costly look is followed by a long pause."""
OVER = {State.COMPLETE, State.FAILED, State.INTERRUPTED}


class Fleet:
    """The runs of a place."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.problems: list[str] = []
        self._watchers: dict[Path, Watcher] = {}
        self._known: dict[Path, tuple[int, RunView]] = {}
        self._probe = Probe()
        self._seen: tuple[list[RunView], SystemFigures] | None = None
        self._due = 0.0

    def look(self) -> tuple[list[RunView], SystemFigures]:
        """Every run, running ones first, then newest first; and the machine.

        The last look again (the same object), where a new one would take more than SHARE of the time.
        """
        if self._seen is None or time.monotonic() >= self._due:
            begun = time.thread_time()
            self._seen = self._look()
            self.charge(time.thread_time() - begun)
        return self._seen

    def charge(self, seconds: float) -> None:
        """Puts the next look off by what was just spent on this one."""
        self._due = max(self._due, time.monotonic()) + seconds / SHARE

    def expire(self) -> None:
        """The next look is a new one."""
        self._due = 0.0

    def _look(self) -> tuple[list[RunView], SystemFigures]:
        views, self.problems = [], []
        found = list(find_runs(self.place))
        for run in found:
            try:
                views.append(self._view(run))
            except (UserError, OSError) as error:
                self.problems.append(str(error))
        paths = {run.path for run in found}
        self._watchers = {path: watcher for path, watcher in self._watchers.items() if path in paths}
        self._known = {path: known for path, known in self._known.items() if path in paths}
        views.sort(key=lambda view: view.created, reverse=True)
        views.sort(key=lambda view: view.state is not State.RUNNING)
        return views, self._probe.look(self._pid(views))

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
