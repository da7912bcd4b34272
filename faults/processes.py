"""Runs in children forked from a warm parent: torch is imported once, so that a killed run costs a second."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import glotune.resume
import glotune.run  # warm: every child inherits the imported libraries
from glotune.recipe import Recipe
from glotune.records import RunStatus
from glotune.run_dir import RunDirectory


def spawn(action: Callable[[], object], log: Path) -> int:
    """Forks a child that does `action` and exits with 0, or with 1 after an error; its output goes to `log`."""
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
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int) -> int:
    """The exit code of a child; negative where a signal ended it."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def kill_after(pid: int, seconds: float) -> bool:
    """Kills a child with -9 after some seconds; False where it had finished before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    return wait(pid) == -signal.SIGKILL


def go_on(recipe: Recipe, out: Path) -> Callable[[], object]:
    """What a user does after a crash: resume the run, or train where the crash left no run."""

    def action() -> object:
        if RunDirectory(out).manifest_path.exists():
            return glotune.resume.resume(out)
        return glotune.run.train(recipe, out=out, command=[])

    return action


def is_complete(out: Path) -> bool:
    """Whether the run finished."""
    run = RunDirectory(out)
    return run.manifest_path.exists() and run.read_manifest().status is RunStatus.COMPLETE
