"""What is kept here of a run elsewhere (``launch.json``), and how its results come back."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from glotune.errors import RunError, UserError
from glotune.launch.mirror import Mirror
from glotune.launch.task import CLOUD_STORES, Wanted
from glotune.run.directory import now, write_atomically
from glotune.whole_files import unwritable_folder

RECORD, TASK = "launch.json", "task.yaml"
SCHEMES = {"s3": "s3", "gcs": "gs"}
TOOLS = {
    "s3": (["aws", "s3", "sync", "--only-show-errors"], "the AWS command line"),
    "gs": (["gcloud", "storage", "rsync", "--recursive"], "the Google Cloud command line"),
    "r2": (["rclone", "copy"], "rclone, with a remote named r2"),
}
"""Scheme -> the command that copies a folder from a bucket, and who it belongs to. None deletes what is only here:
evaluations, exports and trackers' folders that were made on this machine."""


@dataclass(frozen=True)
class Remote:
    """A run that was launched."""

    name: str
    managed: bool
    """A managed job rather than a cluster of its own."""
    bucket: str
    """Address of the folder that the run is copied to, e.g. ``s3://bucket/name``; or a path on this machine."""
    launched: str

    @classmethod
    def of(cls, wanted: Wanted) -> Remote:
        """As `wanted` will be launched."""
        scheme = wanted.bucket if "://" in wanted.bucket else f"{SCHEMES[CLOUD_STORES[wanted.cloud]]}://{wanted.bucket}"
        return cls(wanted.name, wanted.spot, f"{scheme.rstrip('/')}/{wanted.name}", now())

    @classmethod
    def read(cls, run: Path) -> Remote:
        """The record in a run's folder.

        Raises:
            UserError: the run was not launched from here.
        """
        try:
            content = json.loads((run / RECORD).read_text(encoding="utf-8"))
            return cls(**content)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{run} was not launched from here",
                expected=f"a folder with {RECORD}, as glotune launch leaves it",
                remedy="For a run on this machine use: glotune monitor, glotune stop",
            ) from error

    def write(self, run: Path, task: str) -> Path:
        """Keeps the record and the task; returns the task's file.

        Raises:
            UserError: the folder holds another run, or can't be written.
        """
        try:
            run.mkdir(parents=True, exist_ok=True)
            if any(run.iterdir()):
                raise UserError(
                    f"{run} exists and is not empty", expected="a new folder", remedy="Name another with --out"
                )
            (run / TASK).write_text(task, encoding="utf-8")
            write_atomically(run / RECORD, json.dumps(asdict(self), indent=1) + "\n")
        except OSError as error:
            raise unwritable_folder(run, error) from error
        return run / TASK


def fetch(run: Path, remote: Remote) -> None:
    """Brings the run's files here; monitor, report, compare and push then work as for a run of this machine.

    Raises:
        UserError: the tool for that kind of bucket is missing.
        RunError: it failed, or there is nothing yet.
    """
    scheme, is_address, _ = remote.bucket.partition("://")
    if not is_address:
        Mirror(Path(remote.bucket), run).update(drops=False)
    else:
        command, owner = TOOLS[scheme]
        if shutil.which(command[0]) is None:
            raise UserError(
                f"the command '{command[0]}' is not here", expected=owner, remedy=f"It copies {remote.bucket} to {run}"
            )
        place = remote.bucket.replace("://", ":") if scheme == "r2" else remote.bucket
        done = subprocess.run([*command, place, str(run)], check=False)
        if done.returncode != 0:
            raise RunError(f"{command[0]} ended with code {done.returncode}; its own message is above")
    if not (run / "manifest.json").is_file():
        raise RunError(f"{remote.bucket} holds no run yet. See how far it is with: glotune cloud logs {run}")
