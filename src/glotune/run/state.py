"""Whether a run is alive: what its manifest says, held against who holds its lock."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from glotune.errors import UserError
from glotune.run.directory import RunDirectory
from glotune.run.records import Manifest, RunStatus
from glotune.run.trials import TRIALS


class State(StrEnum):
    """Where a run stands, seen from this machine."""

    RUNNING = "running"
    """A process on this machine holds it."""
    ELSEWHERE = "elsewhere"
    """Its lock names another machine: it may be running there."""
    CRASHED = "crashed"
    """The manifest says running, but its process is gone."""
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    PRUNED = "pruned"
    COMPLETE = "complete"


@dataclass(frozen=True)
class Holder:
    """Who the lock file names."""

    pid: int
    host: str
    since: str


def read_holder(lock: Path) -> Holder | None:
    """Who the lock file names; None where it names nobody, as after a clean end."""
    try:
        content = json.loads(lock.read_text(encoding="utf-8"))
        return Holder(int(content["pid"]), str(content["host"]), str(content["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def state_of(run: RunDirectory, manifest: Manifest | None = None) -> State:
    """The state of a run.

    Raises:
        UserError: its manifest can't be read.
    """
    status = (manifest or run.read_manifest()).status
    return State(status.value) if status is not RunStatus.RUNNING else state_of_lock(run.lock)


def state_of_lock(lock: Path) -> State:
    """RUNNING where a process of this machine holds the lock, ELSEWHERE where it names another machine, CRASHED where
    nobody holds it."""
    holder = read_holder(lock)
    if holder is None:
        return State.CRASHED
    if holder.host != os.uname().nodename:
        return State.ELSEWHERE
    return State.RUNNING if _holds(holder, lock) else State.CRASHED


def _holds(holder: Holder, lock: Path) -> bool:
    """Whether the named process holds the lock now. A dead one is known without touching the lock: a watcher that
    takes it, however briefly, could turn away a process that resumes the run at this moment."""
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's process, alive
    try:
        with lock.open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return True  # the lock can't be read by us: the living process is the better evidence
    return False


def find_runs(
    folder: Path, depth: int = 3, *, trials: bool = False, problems: list[str] | None = None
) -> list[RunDirectory]:
    """The runs in `folder`, sorted by path: itself where it is one, otherwise at most `depth` folders down.

    A study keeps its runs in folders. Hidden folders are left out (a run set aside is no run to compare), and links
    to folders are not followed (a run reached by two ways is one run). So are the trials of a search below `folder`,
    unless asked for: they were made to choose by, and are no evidence.

    Args:
        problems: gets a line for each folder below that can't be read, which may be a run.

    Raises:
        UserError: `folder` can't be read; without `problems`, or a folder below.
    """
    try:
        if (folder / "manifest.json").is_file():
            return [RunDirectory(folder)]
        if depth == 0 or not folder.is_dir():
            return []
        visible = [child for child in sorted(folder.iterdir()) if not child.name.startswith(".")]
        children = [child for child in visible if not child.is_symlink() and child.is_dir()]
    except OSError as error:
        raise UserError(f"{folder} can't be read ({error.strerror or error})") from error
    found = []
    for child in children:
        if not trials and os.path.isfile(child / TRIALS):  # noqa: PTH113 - False too for what can't be read
            continue
        try:
            found += find_runs(child, depth - 1, trials=trials, problems=problems)
        except UserError as error:
            if problems is None:
                raise
            problems.append(str(error))
    return found


def readable_runs(folder: Path, *, trials: bool = True) -> tuple[list[tuple[RunDirectory, Manifest]], list[str]]:
    """The runs of a folder, trials included unless not asked for, with their manifests, and a line for each that can't
    be read.

    Raises:
        UserError: `folder` can't be read.
    """
    found: list[tuple[RunDirectory, Manifest]] = []
    problems: list[str] = []
    for run in find_runs(folder, trials=trials, problems=problems):
        try:
            found.append((run, run.read_manifest()))
        except UserError as error:
            problems.append(str(error))
    return found, problems
