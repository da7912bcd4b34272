"""What a child process holds: memory of its own, and pages of files that the system can take back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from faults.processes import spawn

EVERY_SECONDS = 0.01


@dataclass(frozen=True)
class Usage:
    """What a child used until it ended."""

    code: int
    """Its exit code; negative where a signal ended it."""
    own: int
    """Peak bytes of anonymous memory, which stays until it is freed; also what it had of its parent."""
    resident: int
    """Peak bytes resident: mapped files too, as far as they were touched and the system did not want them back."""
    seconds: float
    cpu_seconds: float
    """Of all its threads; on a busy machine more telling than `seconds`."""


def in_child(action: Callable[[], object], log: Path) -> Usage:
    """Does `action` in a forked process, its output in `log`, and looks at its memory a hundred times a second."""
    started = time.monotonic()
    pid = spawn(action, log)
    own = resident = 0
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            peak = max(resident, usage.ru_maxrss * 1024)
            cpu = usage.ru_utime + usage.ru_stime
            return Usage(os.waitstatus_to_exitcode(status), own, peak, time.monotonic() - started, cpu)
        held = psutil.Process(pid).memory_info()
        own, resident = max(own, held.rss - held.shared), max(resident, held.rss)
        time.sleep(EVERY_SECONDS)
