"""Whether the files of a run are what the run wrote (C9): their hashes against those of its manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from glotune.errors import UserError
from glotune.run.directory import RunDirectory
from glotune.run.records import Manifest
from glotune.whole_files import sha256


class AsWritten:
    """The files of one run directory; each is hashed once, when it is first asked for."""

    def __init__(self, directory: RunDirectory, manifest: Manifest) -> None:
        self._directory = directory
        self._known = manifest.outputs
        self._is_altered: dict[str, bool] = {}

    @property
    def has_hashes(self) -> bool:
        """Whether the manifest holds hashes of what the run wrote: not before its end, nor in older versions."""
        return self._known is not None

    def is_altered(self, path: Path) -> bool:
        """Whether a file of the run is not what the run wrote; False where it kept no hashes."""
        if self._known is None:
            return False
        name = self._name(path)
        if name not in self._is_altered:
            self._compare(name, sha256(path) if path.is_file() else None)
        return self._is_altered[name]

    def content(self, path: Path) -> bytes:
        """A small file, read once for what it says and for its hash.

        Raises:
            OSError: it can't be read.
        """
        content = path.read_bytes()
        if self._known is not None:
            self._compare(self._name(path), hashlib.sha256(content).hexdigest())
        return content

    @cached_property
    def altered(self) -> tuple[str, ...]:
        """Paths inside the run of all files that were changed, added or deleted since the run ended."""
        known = {self._directory.path / name for name in self._known or ()}
        paths = sorted(known | set(self._directory.outputs()))
        return tuple(self._name(path) for path in paths if self.is_altered(path))

    def require(self, paths: Iterable[Path]) -> None:
        """Refuses the run where one of these files is not what it wrote: nothing would follow from it.

        Raises:
            UserError: names the file, and what to do.
        """
        for path in paths:
            if self.is_altered(path):
                raise UserError(
                    f"{path} is not what the run wrote "
                    f"({'its SHA-256 is not the one in manifest.json' if path.is_file() else 'it is gone'})",
                    expected="the files of a run as they were at its end",
                    remedy=f"Put the run's own file back, leave {self._directory.path} out, or train it again into "
                    f"another directory: glotune reproduce {self._directory.path}",
                )

    def _name(self, path: Path) -> str:
        return path.relative_to(self._directory.path).as_posix()

    def _compare(self, name: str, found: str | None) -> None:
        self._is_altered[name] = found != (self._known or {}).get(name)
