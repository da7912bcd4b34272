"""SkyPilot by its own command, in its own environment: it and the Hub client need incompatible versions of click."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from glotune.errors import RunError, UserError

PASSED_ON = ("HF_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "TRACKIO_SPACE_ID")
"""Secrets that the job may need; those set here go along, and SkyPilot keeps them out of its logs."""


def find_command() -> str:
    """SkyPilot's command: ``$GLOTUNE_SKY``, or ``sky`` on the path.

    Raises:
        UserError: it is not there.
    """
    named = os.environ.get("GLOTUNE_SKY")
    found = shutil.which(named or "sky")
    if found is None:
        raise UserError(
            f"SkyPilot's command '{named or 'sky'}' is not here",
            expected="SkyPilot in an environment of its own (it can't share glotune's)",
            remedy="Install it with: uv tool install 'skypilot[aws,gcp,kubernetes]' (or with pipx), then: sky check",
        )
    return found


def launch_command(task: Path, name: str, *, managed: bool) -> list[str]:
    """A managed job is started again elsewhere when its spot machine is taken; a cluster of its own is not."""
    secrets = [word for key in PASSED_ON if os.environ.get(key) for word in ("--secret", key)]
    if managed:
        return ["jobs", "launch", "--name", name, "--yes", "--detach-run", *secrets, str(task)]
    return ["launch", "--cluster", name, "--yes", "--detach-run", *secrets, str(task)]


def status_command(name: str, *, managed: bool) -> list[str]:
    """What SkyPilot says of the job."""
    return ["jobs", "queue"] if managed else ["queue", name]


def logs_command(name: str, *, managed: bool, follow: bool) -> list[str]:
    """The job's output."""
    flag = "--follow" if follow else "--no-follow"
    return ["jobs", "logs", "--name", name, flag] if managed else ["logs", name, flag]


def stop_commands(name: str, *, managed: bool) -> list[list[str]]:
    """Asks the job to stop, then gives the machine back; what is in the bucket stays."""
    if managed:
        return [["jobs", "cancel", "--name", name, "--yes"]]
    return [["cancel", name, "--all", "--yes"], ["down", name, "--yes"]]


def run(arguments: Sequence[str]) -> None:
    """Runs SkyPilot with this terminal.

    Raises:
        UserError: SkyPilot is not here.
        RunError: it failed; it has said why.
    """
    done = subprocess.run([find_command(), *arguments], check=False)
    if done.returncode != 0:
        raise RunError(
            f"SkyPilot ended with code {done.returncode}; its own message is above (sky {' '.join(arguments)})"
        )
