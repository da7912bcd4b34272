"""How a run is asked to stop: SIGTERM, Ctrl-C and a spot notice finish the step, checkpoint and leave."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Control:
    """Whether somebody asked the run to stop, and why."""

    reason: str | None = None

    def stop(self, reason: str) -> None:
        """Asks the run to stop after the step that it is in."""
        self.reason = reason

    @property
    def stop_requested(self) -> bool:
        return self.reason is not None


@contextmanager
def listening(control: Control) -> Iterator[Control]:
    """Turns the first SIGTERM or SIGINT into a request to stop; a second SIGINT leaves at once.

    Outside the main thread, where Python allows no signal handlers, only `Control.stop` stops a run.
    """
    if threading.current_thread() is not threading.main_thread():
        yield control
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if control.stop_requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        control.stop("interrupted from the keyboard" if number == signal.SIGINT else "asked to stop (SIGTERM)")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield control
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
