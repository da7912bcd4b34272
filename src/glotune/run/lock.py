"""One process writes a run at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glotune.errors import UserError
from glotune.run.directory import now


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file at `path`.

    The kernel's lock ends with its process, however that ends, so a dead process never blocks its run: the lock
    file it leaves behind is simply taken over. What the file says is for people.

    Raises:
        UserError: another process holds the run.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{path.parent} is in use by another process ({holder(path)})",
                remedy=f"Wait for it, or stop it with: glotune stop {path.parent}",
            ) from error
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": os.uname().nodename, "since": now()}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def holder(path: Path) -> str:
    """Who the lock file says holds the run: ``process 123 on HOST since TIME``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return f"process {content['pid']} on {content['host']} since {content['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it does not say which"


def is_held(path: Path) -> str | None:
    """Who holds the run at this moment, on whatever machine, in words; None where nobody does."""
    try:
        with path.open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return holder(path)
    except OSError:
        return None
    return None
