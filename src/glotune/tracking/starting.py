"""Starts trackers beside a training: processes of their own that it never waits for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

from glotune.run_dir import RunDirectory, now


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
