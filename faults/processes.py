"""Runs in children forked from a warm parent: torch is imported once, so that a killed run costs a second."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import glotune.verbs.resume
import glotune.verbs.train  # warm: every child inherits the imported libraries
from glotune.cli.failures import report_failure
from glotune.recipe import Recipe
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus

POLL_SECONDS = 0.0005


def spawn(action: Callable[[], object], log: Path) -> int:
    """Forks a child that does `action` and exits with 0, or as the command line would; its output goes to `log`."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        action()
        code = 0
    except BaseException as error:
        code = report_failure(error, debug=False)
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int) -> int:
    """The exit code of a child; negative where a signal ended it."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def kill_after(pid: int, seconds: float, starts: Callable[[], bool] = lambda: True) -> bool:
    """Kills a child with -9 some seconds after `starts` first holds; False where it had finished before."""
    deadline = None
    while deadline is None or time.monotonic() < deadline:
        if deadline is None and starts():
            deadline = time.monotonic() + seconds
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        time.sleep(POLL_SECONDS)
    os.kill(pid, signal.SIGKILL)
    return wait(pid) == -signal.SIGKILL


def go_on(recipe: Recipe, out: Path) -> Callable[[], object]:
    """What a user does after a crash: resume the run, or train where the crash left no run."""

    def action() -> object:
        if RunDirectory(out).manifest_path.exists():
            return glotune.verbs.resume.resume(out, report=False)
        return glotune.verbs.train.train(recipe, out=out, command=[], report=False)

    return action


def then_tell_modules(action: Callable[[], object], path: Path) -> Callable[[], object]:
    """The action; afterwards the names of all modules that it imported stand in a file."""

    def both() -> object:
        done = action()
        path.write_text("\n".join(list(sys.modules)), encoding="utf-8")
        return done

    return both


def warm_up(path: Path) -> None:
    """Imports here what a child imported, so that the next ones need not."""
    for name in path.read_text(encoding="utf-8").split():
        if name not in sys.modules:
            with suppress(Exception):  # names without a file of their own, made by the libraries
                importlib.import_module(name)


def is_complete(out: Path) -> bool:
    """Whether the run finished."""
    run = RunDirectory(out)
    return run.manifest_path.exists() and run.read_manifest().status is RunStatus.COMPLETE
