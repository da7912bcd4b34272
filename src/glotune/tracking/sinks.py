"""The trackers: what each must be able to do, and which there are."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from glotune.errors import MissingExtra, UserError, did_you_mean
from glotune.tracking.messages import About, Closing, Notice, Point

TRACKERS = {
    "tensorboard": ("glotune.tracking.to_tensorboard:TensorBoardSink", "tensorboard"),
    "wandb": ("glotune.tracking.to_wandb:WandbSink", "wandb"),
    "trackio": ("glotune.tracking.to_trackio:TrackioSink", "trackio"),
    "mlflow": ("glotune.tracking.to_mlflow:MlflowSink", "mlflow"),
}
"""Name -> where its sink is, and the package that it needs; the extra has the tracker's name."""


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


def check_trackers(names: Iterable[str]) -> None:
    """Refuses a tracker that can't be used here, before anything is trained.

    Raises:
        UserError: there is no tracker of that name.
        MissingExtra: its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            hint = did_you_mean(name, TRACKERS)
            raise UserError(f"unknown tracker '{name}'", expected=f"one of {', '.join(TRACKERS)}", remedy=hint)
        if find_spec(TRACKERS[name][1]) is None:
            raise MissingExtra(TRACKERS[name][1], name, f"tracking to {name}")


def make_sink(name: str, folder: Path) -> Sink:
    """The sink of that name; raises as `check_trackers`."""
    check_trackers([name])
    module, _, attribute = TRACKERS[name][0].partition(":")
    folder.mkdir(parents=True, exist_ok=True)
    sink: Sink = getattr(import_module(module), attribute)(folder)
    return sink
