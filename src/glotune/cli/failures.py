"""What the command line says when something goes wrong: one paragraph, and an exit code that scripts can read."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from pathlib import Path

from glotune.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_USER_ERROR, GlotuneError, InterruptedRun, printable

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def report_failure(error: BaseException, debug: bool) -> int:
    """Prints what went wrong on stderr and returns the exit code.

    GlotuneError: its own message and code. KeyboardInterrupt: 130. A place that can't be written: said so, 2 where it
    is forbidden and 1 where it is full. A name too long for any file: the user's mistake, wherever it was looked at
    first. Anything else is a fault of glotune or of the
    machine: its traceback is kept in a file that the message names (or printed, with `debug`).
    """
    if debug and not isinstance(error, KeyboardInterrupt):
        traceback.print_exception(error)
    if isinstance(error, InterruptedRun):
        told = str(error)
        _say(told[:1].upper() + told[1:])
        return error.exit_code
    if isinstance(error, GlotuneError):
        _say(f"Error: {error}")
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        _say("Interrupted.")
        return EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        mute_stdout()
        return EXIT_FAILURE
    if isinstance(error, OSError) and error.errno in (*_FORBIDDEN, *_FULL):
        _say(f"Error: {_of_the_place(error)}")
        return EXIT_USER_ERROR if error.errno in _FORBIDDEN else EXIT_FAILURE
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        _say(f"Error: {printable(str(error.filename))} is too long to be the name of a file.")
        return EXIT_USER_ERROR
    kept = "" if debug else f" The traceback is in {_keep_traceback(error)}; --debug shows it here."
    _say(
        f"Error: glotune failed with {type(error).__name__}: {_first_line(error)}. "
        f"This is a fault of glotune or of this machine, not of your recipe or data.{kept}"
    )
    return EXIT_FAILURE


def _of_the_place(error: OSError) -> str:
    """A place that this user may not open or write, or that is full: nobody's fault, and its user can mend it."""
    place = error.filename2 or error.filename or "a file"
    if error.errno in _FULL:
        return f"{place} can't be written ({error.strerror}). Make room there, then call the command again."
    return (
        f"{place} can't be opened ({error.strerror}). Expected a place that you may read and write. Ask its owner, or "
        "copy what you need of it to a place of your own and name the copy."
    )


def mute_stdout() -> None:
    """After a broken pipe: keeps Python from failing again when it flushes stdout on its way out."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    os.close(sink)


def _keep_traceback(error: BaseException) -> Path:
    descriptor, name = tempfile.mkstemp(prefix="glotune-", suffix=".log")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{' '.join(sys.argv)}\n\n")
        traceback.print_exception(error, file=file)
    return Path(name)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no message"


def _say(message: str) -> None:
    print(message, file=sys.stderr)  # noqa: T201 - rich may not be importable when this is needed
