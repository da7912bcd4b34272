"""`glotune stop`: asks the process that holds a run to end, and leaves the run's status true."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from glotune.errors import RunError, UserError
from glotune.run.directory import RunDirectory
from glotune.run.lock import locked
from glotune.run.records import RunStatus
from glotune.run.state import Holder, State, read_holder, state_of

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 10.0
"""How long ``now`` waits for the process to write its status before it is killed."""

Log = Callable[[str], None]


def stop(run: RunDirectory, *, now: bool = False, timeout: float | None = None, log: Log) -> str:
    """Ends a run and waits until its process is gone. A run that is not running is left as it is.

    Args:
        run: the run.
        now: don't wait for the step and its checkpoint; what came after the last checkpoint is computed again.
        timeout: seconds to wait for the step and its checkpoint; None: as long as it takes.
        log: receives lines for people while it waits.

    Returns:
        One line: how the run stands.

    Raises:
        UserError: the run is another machine's or another user's.
        RunError: it was still busy when the time ran out.
    """
    state, holder = state_of(run), read_holder(run.lock)
    if state is State.ELSEWHERE and holder:
        raise held_elsewhere(run.path, holder)
    if state is State.CRASHED:
        settle(run, "its process was gone")
        return f"{run.path} was not running any more: its process is gone. {_go_on(run)}"
    if state is not State.RUNNING or holder is None:
        return f"{run.path} is not running: it is {state.value}."
    if now:
        end_at_once(holder)
    else:
        ask(holder, run.lock, timeout, log)
    return _outcome(run, "stopped at once" if now else "stopped before its first step or while finishing")


def held_elsewhere(path: Path, holder: Holder) -> UserError:
    """What to say of a run or study that another machine's process holds."""
    return UserError(
        f"{path} is held by process {holder.pid} on {holder.host} since {holder.since}",
        expected=f"a run of this machine ({os.uname().nodename})",
        remedy=f"Stop it there: ssh {holder.host} glotune stop {path.absolute()}",
    )


def ask(holder: Holder, lock: Path, timeout: float | None, log: Log) -> None:
    """Asks the process that holds a run or study to end, and waits until it has.

    Raises:
        RunError: it was still busy after `timeout` seconds.
    """
    _send(holder, signal.SIGTERM)
    log(f"Asked process {holder.pid} to stop; it finishes its step and saves a checkpoint first.")
    if not _wait(holder.pid, lock, timeout):
        raise RunError(
            f"{lock.parent} is still busy after {timeout:g} s; it stops when its step is done. "
            f"End it at once with: glotune stop {lock.parent} --now"
        )


def settle(run: RunDirectory, reason: str) -> None:
    """Marks a run whose process died without a word as interrupted; does nothing where its status is true."""
    with locked(run.lock):
        if run.read_manifest().status is RunStatus.RUNNING:
            run.update_manifest(status=RunStatus.INTERRUPTED, reason=reason)


def _outcome(run: RunDirectory, reason: str) -> str:
    if not run.manifest_path.exists():
        return f"{run.path} had a mistake in its recipe or data and was withdrawn."
    settle(run, reason)
    manifest = run.read_manifest()
    if manifest.status is RunStatus.COMPLETE:
        return f"{run.path} came to its end while it was asked to stop: it is complete."
    if manifest.status is RunStatus.FAILED:
        return f"{run.path} failed while it was asked to stop: {manifest.reason}"
    return f"{run.path} stopped ({manifest.reason}). {_go_on(run)}"


def _go_on(run: RunDirectory) -> str:
    return f"Go on with: glotune resume {run.path}"


def end_at_once(holder: Holder) -> None:
    """As Ctrl-C pressed twice, so that the run can write its status; the kill is for one that doesn't."""
    for _ in range(2):
        if not _alive(holder.pid):
            return
        _send(holder, signal.SIGINT)
        time.sleep(0.3)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _alive(holder.pid):
        if time.monotonic() > deadline:
            _send(holder, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _wait(pid: int, lock: Path, timeout: float | None) -> bool:
    """Until the process is gone or has let go of the run (a notebook's process lives on)."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while _alive(pid) and read_holder(lock) is not None:
        if deadline is not None and time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _send(holder: Holder, number: signal.Signals) -> None:
    try:
        os.kill(holder.pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise UserError(
            f"process {holder.pid} belongs to another user", expected="a run of your own", remedy="Ask its owner"
        ) from error


def _alive(pid: int) -> bool:
    """Whether the process runs; one that has ended but whose parent has not noticed (a zombie) does not."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
