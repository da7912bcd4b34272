"""`glotune clean`: what can be deleted without losing a result, and how much it frees."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from glotune.data.cache import cache_folder
from glotune.errors import UserError
from glotune.run.directory import RunDirectory
from glotune.run.lock import locked
from glotune.run.records import Manifest, RunStatus
from glotune.run.state import State, readable_runs, state_of

_LEFTOVER = re.compile(r"^\..+\.(?P<pid>\d+)\.tmp$|^\..+\.deleted$")
_IN_RUN = re.compile(r"^\..+\.tmp$")


@dataclass(frozen=True)
class Item:
    """Something that can be deleted."""

    path: Path
    what: str
    why: str
    bytes: int
    run: RunDirectory | None = None
    """The run that it belongs to; its lock is held while the item is deleted."""


@dataclass(frozen=True)
class Choice:
    """What to look for beside what is always safe."""

    failed: bool = False
    """Whole runs that failed or crashed before their first checkpoint."""
    cache: bool = False
    """Tokenized texts and frozen layers' outputs: computed again when needed."""


def find(folder: Path, choice: Choice) -> tuple[list[Item], list[str]]:
    """What can be deleted in `folder`, largest first, and a line for each run that is left alone and why."""
    runs, problems = readable_runs(folder)
    items: list[Item] = []
    left = [f"left alone: {problem}" for problem in problems]
    for run, manifest in runs:
        state = state_of(run, manifest)
        if state in (State.RUNNING, State.ELSEWHERE):
            where = "is running" if state is State.RUNNING else "may be running on another machine"
            left.append(f"left alone: {run.path} {where}")
            continue
        items.extend(_of_run(run, manifest, state, choice))
    items.extend(_leftovers(folder))
    if choice.cache:
        items.extend(_cache())
    return sorted(items, key=lambda item: -item.bytes), left


def delete(items: Iterable[Item]) -> tuple[int, list[str]]:
    """Deletes; returns the bytes freed and a line for each item that could not be deleted.

    A run that came to life since it was looked at keeps its files.
    """
    freed, problems = 0, []
    for item in items:
        try:
            if item.run is not None and item.run.path.exists():
                with locked(item.run.lock):
                    remove(item.path)
            else:
                remove(item.path)
            freed += item.bytes
        except UserError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{item.path} could not be deleted ({error.strerror or error})")
    return freed, problems


def _of_run(run: RunDirectory, manifest: Manifest, state: State, choice: Choice) -> Iterator[Item]:
    saved = (run.model / "config.json").is_file()
    if choice.failed and state in (State.FAILED, State.CRASHED) and not any(run.checkpoints.glob("step-*")):
        why = f"it {state.value} before its first checkpoint: {manifest.reason or 'no reason known'}"
        yield Item(run.path, "run", why, size(run.path), run)
        return
    if manifest.status is RunStatus.COMPLETE and saved and run.checkpoints.exists():
        why = "the run is complete and its model saved; only push --checkpoints would still read them"
        yield Item(run.checkpoints, "checkpoints", why, size(run.checkpoints), run)
    for place in (run.path, run.checkpoints, run.predictions):
        for path in sorted(place.glob(".*.tmp")):
            if _IN_RUN.match(path.name) and not (place == run.checkpoints and manifest.status is RunStatus.COMPLETE):
                yield Item(path, "leftover", "half-written when the run's process died", size(path), run)


def _leftovers(folder: Path) -> Iterator[Item]:
    """Folders written or deleted halfway beside the runs, by processes that are gone."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        match = _LEFTOVER.match(path.name)
        if match and not (match["pid"] and _alive(int(match["pid"]))):
            yield Item(path, "leftover", "half-written or half-deleted by a process that is gone", size(path))


def _cache() -> Iterator[Item]:
    cache = cache_folder()
    if cache.is_dir() and any(cache.iterdir()):
        yield Item(cache, "cache", "tokenized texts and frozen layers; computed again when needed", size(cache))


def size(path: Path) -> int:
    """Bytes on disk; what vanishes meanwhile counts nothing."""
    if path.is_symlink() or path.is_file():
        return path.lstat().st_size
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += (Path(folder) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


def remove(path: Path) -> None:
    """A folder is moved aside first: no half of it can be taken for a run or a checkpoint."""
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    aside = path.with_name(f".{path.name.lstrip('.')}.deleted")
    if aside != path:
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    shutil.rmtree(aside)


def _alive(pid: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(pid))
