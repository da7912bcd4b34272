"""A cache of folders, keyed by content: written aside and renamed, verified when opened, rebuilt when not whole."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from glotune.errors import UserError
from glotune.recipe.paths import place_of
from glotune.whole_files import sha256, sync

MANIFEST = "cache.json"
_SCHEMA = 1

Build = Callable[[Path], None]
OnWarning = Callable[[str], None]


def cache_folder(on_warning: OnWarning | None = None) -> Path:
    """``$GLOTUNE_CACHE``, or ``glotune`` in the user's cache folder; without a home, a temporary folder of the user's.

    Args:
        on_warning: called where there is no home, as in a container whose user has no entry in the password file.
    """
    named = os.environ.get("GLOTUNE_CACHE")
    if named:
        return place_of(named)
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "glotune"
    try:
        return Path.home() / ".cache" / "glotune"
    except RuntimeError:
        folder = _temporary_cache()
    if on_warning is not None:
        on_warning(f"this user has no home folder: the cache is {folder}. Name another one in GLOTUNE_CACHE")
    return folder


def _temporary_cache() -> Path:
    """A folder that is this user's alone, the same one each time where nobody else has taken its name."""
    folder = Path(tempfile.gettempdir()) / f"glotune-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
        return folder
    other = Path(tempfile.mkdtemp(prefix="glotune-"))
    atexit.register(shutil.rmtree, other, ignore_errors=True)
    return other


def open_or_build(cache: Path, key: str, build: Build, *, on_warning: OnWarning | None = None) -> tuple[Path, bool]:
    """The folder of the entry `key`, and whether it was there already.

    An entry that is half-written, altered or another's is rebuilt. Where the cache can't be written, the entry
    is built in a temporary folder that goes when the process ends, with a warning.

    Args:
        cache: the folder that holds the entries.
        key: of this entry, naming all that its content depends on; fit for a file name.
        build: writes the entry's files into the folder that it is given.
        on_warning: called with a line for damaged entries and for a cache that can't be written.

    Raises:
        UserError: neither the cache nor the temporary folder can be written.
    """
    warn = on_warning or (lambda message: None)
    entry = cache / key
    damage = damage_of(entry, key)
    if damage is None:
        return entry, True
    if entry.exists():
        warn(f"cache entry {entry} is rebuilt: {damage}")
    try:
        return _build_aside(cache, entry, key, build), False
    except OSError as error:
        reason = error.strerror or str(error)
        warn(f"the cache folder {cache} can't be written ({reason}): a temporary folder is used instead")
    try:
        temporary = Path(tempfile.mkdtemp(prefix="glotune-"))
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return _build_aside(temporary, temporary / key, key, build), False
    except OSError as error:
        raise UserError(
            f"neither the cache folder {cache} nor the temporary folder can be written ({error.strerror or error})",
            expected="free space for the tokenized texts",
            remedy="Free some, or name a folder with space in GLOTUNE_CACHE",
        ) from error


def damage_of(entry: Path, key: str) -> str | None:
    """What is wrong with an entry, None where it is whole: every file there, of the stated size and SHA-256."""
    if not entry.is_dir():
        return "there is none"
    try:
        manifest = json.loads((entry / MANIFEST).read_bytes())
        if manifest["schema"] != _SCHEMA or manifest["key"] != key:
            return "it is another entry's or another version's"
        for name, stated in manifest["files"].items():
            file = entry / name
            if file.stat().st_size != stated["bytes"]:
                return f"{name} has {file.stat().st_size} bytes instead of {stated['bytes']}"
            if sha256(file) != stated["sha256"]:
                return f"the content of {name} was changed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it is half-written ({type(error).__name__})"
    return None


def _build_aside(cache: Path, entry: Path, key: str, build: Build) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    with _aside(cache, key) as folder:
        build(folder)
        files = sorted(file for file in folder.iterdir() if file.is_file())
        stated = {file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in files}
        (folder / MANIFEST).write_text(
            json.dumps({"schema": _SCHEMA, "key": key, "files": stated}, indent=1), encoding="utf-8"
        )
        for file in (*files, folder / MANIFEST):
            sync(file)
        if entry.exists() and damage_of(entry, key) is not None:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        try:
            folder.rename(entry)
        except OSError:
            if damage_of(entry, key) is not None:
                raise  # otherwise another process was quicker, and its entry is as good
    return entry


@contextmanager
def _aside(cache: Path, key: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f".{key[:32]}.", suffix=".tmp", dir=cache))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
