"""``python -m glotune.launch.job``: what runs on the other machine. Started again anywhere, it goes on exactly.

Everything that it needs from before is in the bucket: a spot machine can vanish without a word.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from glotune.errors import EXIT_FAILURE, EXIT_OK, UserError
from glotune.launch.mirror import Mirror
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus

SECONDS = 20.0
"""Between two copies to the bucket."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains, or goes on training, and copies the run to the bucket all the while; returns training's exit code."""
    parser = argparse.ArgumentParser(prog="python -m glotune.launch.job")
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--bucket", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args(arguments)
    mirror = Mirror(given.run, given.bucket)
    if not given.run.exists() and mirror.restore():
        _say(f"restored {given.run} from {given.bucket}")
    command = training_command(given.run, given.recipe, given.processes)
    if command is None:
        _say(f"{given.run} is complete already")
        return EXIT_OK
    return _accompany(command, mirror, given.seconds)


def training_command(run: Path, recipe: Path, processes: int) -> list[str] | None:
    """The command that brings the run to its end; None for one that is there."""
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    launcher += ["-m", "glotune.cli.main"] if processes == 1 else ["--module", "glotune.cli.main"]
    try:
        status = RunDirectory.open(run).read_manifest().status
    except UserError:
        return [*launcher, "train", str(recipe), "--out", str(run)]
    return None if status is RunStatus.COMPLETE else [*launcher, "resume", str(run)]


def _accompany(command: list[str], mirror: Mirror, seconds: float) -> int:
    """Runs the command; a request to stop is passed on, so that training checkpoints first."""
    child = subprocess.Popen(command)

    def pass_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    copied = time.monotonic()
    while child.poll() is None:
        time.sleep(min(0.2, seconds))
        if time.monotonic() - copied >= seconds:
            _update(mirror)
            copied = time.monotonic()
    if not _update(mirror):
        return EXIT_FAILURE
    return child.returncode if child.returncode >= 0 else EXIT_FAILURE


def _update(mirror: Mirror) -> bool:
    """A bucket that does not answer is no reason to stop training; the next copy brings everything."""
    try:
        mirror.update()
    except OSError as error:
        _say(f"could not copy to {mirror.bucket} ({error}); training goes on, trying again later")
        return False
    return True


def _say(line: str) -> None:
    print(f"glotune: {line}", flush=True)  # noqa: T201 - stdout is the job's log


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
