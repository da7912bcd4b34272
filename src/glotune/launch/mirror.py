"""Keeps a copy of a run in a bucket, and makes the run again from the copy alone.

The run itself lies on the machine's own disk, where appending, renaming and locking mean what they should. Whole
files are copied, and in an order that leaves the bucket usable at every moment: whatever a checkpoint rests on (its
weights, and the events up to its step) before the list of its hashes, everything before the run's manifest. A
checkpoint that was cut off is noticed by its hashes, and the one before is used.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

NEVER_RESTORED = (".lock",)
CHECKPOINTS = "checkpoints"
MANIFEST = "manifest.json"
LAST = ("log.txt", "events.jsonl", ".lock", f"{CHECKPOINTS}/*/{MANIFEST}", MANIFEST)
"""Copied after everything else, in this order."""

Stamp = tuple[int, int]


class Mirror:
    """One run and its copy."""

    def __init__(self, run: Path, bucket: Path) -> None:
        self.run, self.bucket = run, bucket
        self._copied: dict[Path, Stamp] = {}

    def restore(self) -> bool:
        """Makes the run from the copy; False where the bucket holds none yet, and nothing is done."""
        if not (self.bucket / MANIFEST).is_file():
            return False
        for source in self._files(self.bucket):
            place = source.relative_to(self.bucket)
            if place.name not in NEVER_RESTORED:
                _copy(source, self.run / place)
                self._copied[place] = _stamp(self.run / place)
        return True

    def update(self, *, drops: bool = True) -> int:
        """Copies what has changed and drops checkpoints that the run has dropped; returns the files copied.

        Args:
            drops: False: nothing that the run lacks is deleted.
        """
        if not self.run.is_dir():
            return 0
        copied = 0
        for path in self._in_order():
            place = path.relative_to(self.run)
            if drops and place == Path(MANIFEST):  # one that counts a round must meet no checkpoint of that round
                self._drop()
            try:
                stamp = _stamp(path)
                if self._copied.get(place) != stamp:
                    _copy(path, self.bucket / place)
                    self._copied[place] = stamp
                    copied += 1
            except FileNotFoundError:
                continue  # the run replaced or dropped it meanwhile
        return copied

    def _drop(self) -> None:
        """Only after what replaces them was copied."""
        kept = self.bucket / CHECKPOINTS
        for folder in sorted(kept.iterdir()) if kept.is_dir() else []:
            if not (self.run / CHECKPOINTS / folder.name).exists():
                shutil.rmtree(folder, ignore_errors=True)
                gone = [place for place in self._copied if place.parts[:2] == (CHECKPOINTS, folder.name)]
                for place in gone:
                    del self._copied[place]

    def _in_order(self) -> list[Path]:
        """Checkpoints are listed first: what one rests on was written before it, so it is in the list made after."""
        checkpoints = list(self._files(self.run / CHECKPOINTS))
        rest = (path for path in self._files(self.run) if path.relative_to(self.run).parts[0] != CHECKPOINTS)
        return sorted([*checkpoints, *rest], key=self._rank)

    def _rank(self, path: Path) -> tuple[int, str]:
        place = path.relative_to(self.run)
        matching = (rank for rank, last in enumerate(LAST, start=1) if fnmatch(str(place), last))
        return next(matching, 0), str(place)

    def _files(self, root: Path) -> Iterator[Path]:
        """Every file but those that are being written."""
        for folder, names, files in os.walk(root):
            names[:] = [name for name in names if not name.startswith(".")]
            for name in files:
                if not name.startswith(".") or name == ".lock":
                    yield Path(folder) / name


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _copy(source: Path, target: Path) -> None:
    """Written aside and renamed; where a mounted bucket can't rename, written in place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.tmp")
    try:
        shutil.copyfile(source, aside)
        try:
            aside.replace(target)
        except OSError:
            shutil.copyfile(source, target)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
