"""What the browser gets: the state of every run, and a run's report page drawn when its files have changed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glotune.errors import UserError
from glotune.monitor import once
from glotune.monitor.many import Fleet
from glotune.monitor.pace import Pace
from glotune.monitor.view import RunView
from glotune.report.content import gather
from glotune.report.page import render_page
from glotune.run.data import load_run
from glotune.run.state import State
from glotune.words import score

PAGE_SHARE = 0.003
"""Of one core's time: what drawing a page of a run that goes on may take, beside the looks."""
LONGEST = 60.0
"""Seconds after which a page may be drawn anew, whatever it costs."""


@dataclass(frozen=True)
class Drawn:
    """A report page."""

    version: str
    page: str
    stands_until: float
    """While its run goes on, no newer one is drawn before: on the monotonic clock, in seconds."""


class Pages:
    """Pages are made in memory: the run directory is only read. One is drawn at a time, whoever asks."""

    def __init__(self, place: Path) -> None:
        self._fleet = Fleet(place)
        self._pace = Pace()
        self._lock = threading.Lock()
        self._views: list[RunView] = []
        self._runs: list[dict[str, Any]] = []
        self._machine = ""
        self._drawn: dict[Path, Drawn] = {}

    def state(self) -> dict[str, Any]:
        """All runs in a few words, and a version each that changes when its page should be loaded again."""
        with self._lock:
            self._look()
            versions = [{"version": self._version(view)} for view in self._views]
            runs = [run | version for run, version in zip(self._runs, versions, strict=True)]
            return {"runs": runs, "machine": self._machine, "problems": self._fleet.problems}

    def report(self, key: str) -> str:
        """The report page of the run that `state` calls `key`.

        Raises:
            UserError: there is no such run here; no path from outside the place is ever opened.
        """
        with self._lock:
            self._look()
            view = next((view for view in self._views if key_of(view) == key), None)
            if view is None:
                raise UserError(f"there is no run '{key}' here")
            version = self._version(view)
            if view.path not in self._drawn or self._drawn[view.path].version != version:
                self._drawn[view.path] = _draw(view.path, version)
            return self._drawn[view.path].page

    def expire(self) -> None:
        """The next question is answered by a look of its own."""
        self._pace.expire()
        self._fleet.expire()

    def _look(self) -> None:
        """Browsers ask when they like; the files are looked at as often as the pace allows."""
        if self._pace.wait:
            return
        views, machine = self._fleet.look()
        changed = set(map(id, views)) != set(map(id, self._views))
        self._views, self._machine = views, once.machine(machine)
        self._runs = [_in_words(view) for view in views]
        self._pace.looked(changed)

    def _version(self, view: RunView) -> str:
        """Of the page that a browser should show now."""
        drawn = self._drawn.get(view.path)
        waits = drawn is not None and view.state is State.RUNNING and time.monotonic() < drawn.stands_until
        return drawn.version if drawn is not None and waits else version_of(view)


def _draw(path: Path, version: str) -> Drawn:
    begun = time.thread_time()
    data = load_run(path)
    page = render_page([gather(data)], data.name)
    cost = time.thread_time() - begun
    return Drawn(version, page, time.monotonic() + min(cost / PAGE_SHARE, LONGEST))


def key_of(view: RunView) -> str:
    """What a run is called in addresses."""
    return str(view.path)


def version_of(view: RunView) -> str:
    """Changes with every evaluation, notice and change of state, not with every step."""
    evaluations = sum(len(row.values) for row in view.languages)
    return f"{view.state.value}.{view.attempt}.{evaluations}.{len(view.notices)}.{len(view.checkpoints)}.{view.verdict}"


def _in_words(view: RunView) -> dict[str, Any]:
    return {
        "key": key_of(view),
        "name": view.path.name,
        "state": view.state.value,
        "verdict": view.verdict,
        "score": score(once.headline(view)),
        "facts": once.facts(view),
        "alarms": once.alarms(view),
        "share": view.share_done,
    }
