"""Files and folders that appear whole or not at all, and outputs that take nothing away from what they are written to.

Content is written aside and renamed into place. Renaming replaces whatever has the name: so links are followed first,
what is no regular file (a device, a pipe) is written straight into, and an output that a user names keeps its owner,
its permissions and its other names.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from glotune.errors import UserError

LONGEST = 40
"""Characters of a name that a set-aside file bears: 255 bytes is the most that file systems take."""
MOST_LINKS = 40
"""Links that Linux follows one after another before it gives up."""


def aside_of(path: Path) -> Path:
    """A free place beside `path`, hidden, with the process in its name: ``glotune clean`` knows what is left over."""
    return path.with_name(f".{path.name[:LONGEST]}.{secrets.token_hex(3)}.{os.getpid()}.tmp")


def resolved(path: Path) -> Path:
    """Where a path leads, through all links, whether or not there is anything yet."""
    return Path(os.path.realpath(path))


def numbered(path: Path) -> Iterator[Path]:
    """`path`, then ``NAME-2``, ``NAME-3`` and so on: for names that are not the user's, where one is taken."""
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.name}-{number}")


def sync(path: Path) -> None:
    """Makes the content of a file durable; of a folder, the renames inside it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def written_aside(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` once it is whole and synced; on any error the old content stays.

    Permissions of an existing file are kept, and its owner where the system lets us.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    target = resolved(path)
    aside = aside_of(target)
    try:
        with aside.open("xb") as file:
            yield file
            _take_after(file, target)
            file.flush()
            os.fsync(file.fileno())
        _put(aside, target)
    except OSError as error:
        if error.filename in (None, str(aside)):
            error.filename = str(path)  # what the user knows of
        raise
    finally:
        aside.unlink(missing_ok=True)
    sync(target.parent)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder that takes the place of `folder`, and of what was in it, once it is complete; else nothing is left."""
    target = resolved(folder)
    aside = aside_of(target)
    lacking = [each for each in target.parents if not each.exists()]
    try:
        aside.mkdir(parents=True)
        yield aside
        open_to_umask(aside)
        if target.exists():
            shutil.rmtree(target)
        aside.replace(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):  # one that holds something stays
            for each in lacking:
                each.rmdir()


def open_to_umask(folder: Path) -> None:
    """Gives the files of a new folder the permissions that the umask leaves: safetensors' are their owner's alone.

    The umask is read off the folder: to ask for it is to set it, for all threads.
    """
    mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) != mode:
            with suppress(OSError):  # a file system without permissions
                path.chmod(mode)


@contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """A new folder where the user wants it, whole or not at all; the place is tried before anything is done for it.

    Raises:
        UserError: something has that name, or no folder can be made there.
    """
    if path.exists():
        raise UserError(f"{path} exists", expected="a new folder", remedy="Name another one with --out")
    with ExitStack() as made:
        try:
            folder = made.enter_context(whole_folder(path))
        except OSError as error:
            raise unwritable_folder(path, error) from error
        yield folder


def unwritable_folder(path: Path, error: OSError) -> UserError:
    """The error for a folder of the user's that can't be made."""
    return UserError(
        f"{path} can't be written ({error.strerror or error})",
        expected="a place for a new folder, with write permission and free space",
        remedy="Name another one with --out",
    )


@contextmanager
def output_file(path: Path) -> Iterator[IO[bytes]]:
    """An output where the user wants it: a file is there whole or not at all, anything else is written straight into.

    A file that can't be replaced without loss (it has other names, belongs to somebody else, or lies in a folder that
    takes no new files) is overwritten, once all content is there.

    Raises:
        UserError: it can't be written there.
    """
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder", expected="the name of a file")
        with _opened(path) as file:
            yield file
    except BrokenPipeError:
        raise  # whoever reads our output has seen enough
    except OSError as error:
        raise UserError(
            f"{path} can't be written ({error.strerror or error})",
            expected="a place with write permission and free space, in a folder that exists",
        ) from error


def write_output(path: Path, content: str) -> None:
    """Writes a text as `output_file` does, in UTF-8."""
    with output_file(path) as file:
        file.write(content.encode())


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    number = own_descriptor(path)
    if number is not None:
        with os.fdopen(os.dup(number), "wb") as file:
            yield file
    elif _must_stay(path):
        with tempfile.TemporaryFile() as whole:
            yield whole
            whole.seek(0)
            with path.open("wb") as file:
                shutil.copyfileobj(whole, file)
    else:
        with written_aside(path) as file:
            yield file


def own_descriptor(path: Path) -> int | None:
    """N where a path leads to an open descriptor of this process, as ``/dev/stdout`` and ``/dev/fd/N`` do.

    Opened by its name, a file behind it would be emptied, and lose what others write to it.
    """
    for _ in range(MOST_LINKS):
        place = resolved(path.parent) / path.name
        if place.name.isdecimal() and str(place.parent) in ("/dev/fd", f"/proc/{os.getpid()}/fd"):
            return int(place.name)
        if not place.is_symlink():
            return None
        path = place.parent / place.readlink()
    return None


def _must_stay(path: Path) -> bool:
    """Whether this is a file that another one can't replace without loss.

    Raises:
        PermissionError: it is protected against writing.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        return False
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    groups = {os.getegid(), *os.getgroups()}
    is_ours = os.geteuid() == 0 or (found.st_uid == os.geteuid() and found.st_gid in groups)
    return found.st_nlink > 1 or not is_ours or not os.access(resolved(path).parent, os.W_OK)


def _take_after(file: IO[bytes], target: Path) -> None:
    """Gives a new file the permissions and the owner of the one that it is to replace."""
    try:
        found = target.stat()
    except FileNotFoundError:
        return
    with suppress(PermissionError):
        os.fchown(file.fileno(), found.st_uid, found.st_gid)
    os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode))


def _put(aside: Path, target: Path) -> None:
    try:
        aside.replace(target)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        shutil.copyfile(aside, target)  # a file mounted into a container: it can't be replaced
