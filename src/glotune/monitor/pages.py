"""What the browser gets: the state of every run, and a run's report page drawn when its files have changed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from glotune.errors import UserError
from glotune.monitor import once, words
from glotune.monitor.many import Fleet
from glotune.monitor.view import RunView
from glotune.report.content import gather
from glotune.report.page import render_page
from glotune.report.run_data import load_run


class Pages:
    """Pages are made in memory: the run directory is only read. One is drawn at a time, whoever asks."""

    def __init__(self, place: Path) -> None:
        self._fleet = Fleet(place)
        self._lock = threading.Lock()
        self._drawn: dict[Path, tuple[str, str]] = {}

    def state(self) -> dict[str, Any]:
        """All runs in a few words, and a version each that changes when its page would."""
        with self._lock:
            views, machine = self._fleet.look()
        return {
            "runs": [_in_words(view) for view in views],
            "machine": once.machine(machine),
            "problems": self._fleet.problems,
        }

    def report(self, key: str) -> str:
        """The report page of the run that `state` calls `key`.

        Raises:
            UserError: there is no such run here; no path from outside the place is ever opened.
        """
        with self._lock:
            views, _ = self._fleet.look()
            view = next((view for view in views if key_of(view) == key), None)
            if view is None:
                raise UserError(f"there is no run '{key}' here")
            version = version_of(view)
            if self._drawn.get(view.path, ("", ""))[0] != version:
                data = load_run(view.path)
                self._drawn[view.path] = (version, render_page([gather(data)], data.name))
            return self._drawn[view.path][1]


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
        "version": version_of(view),
        "state": view.state.value,
        "verdict": view.verdict,
        "score": words.score(once.headline(view)),
        "facts": once.facts(view),
        "alarms": once.alarms(view),
        "share": view.share_done,
    }
