"""The trackers: what each must be able to do, and which there are."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol

from glotune.tracking.messages import About, Closing, Notice, Point
from glotune.verbs.trackers import TRACKERS, check_trackers


class Sink(Protocol):
    """One tracked run. Every call may raise: the sender tries again later, and training never knows."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the tracker's own, inside the run directory."""

    def open(self, about: About, remote: str | None) -> tuple[str, str]:
        """Begins a tracked run, or continues `remote`; returns its id and one line: where to see it."""

    def points(self, points: list[Point]) -> None:
        """Sends scalars, in the order of their steps."""

    def notice(self, notice: Notice) -> None:
        """Sends a line."""

    def close(self, closing: Closing | None) -> None:
        """Sends what the run leaves (None: the run goes on, only the sender ends), and waits until it is stored."""


def make_sink(name: str, folder: Path) -> Sink:
    """The sink of that name; raises as `check_trackers`."""
    check_trackers([name])
    module, _, attribute = TRACKERS[name][0].partition(":")
    folder.mkdir(parents=True, exist_ok=True)
    sink: Sink = getattr(import_module(module), attribute)(folder)
    return sink
