"""Trackers beside a training: which there are, and how they start, as processes that it never waits for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec

from glotune.errors import MissingExtra, UserError, did_you_mean
from glotune.run.directory import RunDirectory, now

TRACKERS = {
    "tensorboard": ("glotune.tracking.to_tensorboard:TensorBoardSink", "tensorboard"),
    "wandb": ("glotune.tracking.to_wandb:WandbSink", "wandb"),
    "trackio": ("glotune.tracking.to_trackio:TrackioSink", "trackio"),
    "mlflow": ("glotune.tracking.to_mlflow:MlflowSink", "mlflow"),
}
"""Name -> where its sink is, and the package that it needs; the extra has the tracker's name."""


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


def start_trackers(run: RunDirectory, names: Iterable[str]) -> list[subprocess.Popen[bytes]]:
    """Starts one process for each tracker and returns at once. Call it while the run's lock is held.

    They live in a session of their own, so that Ctrl-C on the training leaves them to send the end of it, and end by
    themselves when the run does. What they say is in ``RUN/tracking/NAME.log``. Nothing here raises: a tracker that
    can't be started is noted in that log.
    """
    started = []
    for name in names:
        try:
            started.append(_start(run, name))
        except OSError as error:
            _note(run, name, f"{now()} could not be started: {error}\n")
    return started


def _start(run: RunDirectory, name: str) -> subprocess.Popen[bytes]:
    folder = run.path / "tracking"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "glotune.tracking", str(run.path), "--to", name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )


def _note(run: RunDirectory, name: str, line: str) -> None:
    try:
        with (run.path / "tracking" / f"{name}.log").open("a", encoding="utf-8") as log:
            log.write(line)
    except OSError:
        return  # the disk is full or read-only: training says so itself
