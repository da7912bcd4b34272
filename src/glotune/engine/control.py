"""How a run is asked to stop: SIGTERM, Ctrl-C and a spot notice finish the step, checkpoint and leave.

In every other stage (reading, tokenizing, caches, the final evaluation, saving) there is no step to finish, and all
that is written there is written so that a crash can't hurt it: the run leaves at once, as `stopped_by_signals` says.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from glotune.errors import InterruptedRun

ANOTHER_RANK = "another rank was asked to stop"
Handler = Callable[[int, FrameType | None], None]


class StopNow(KeyboardInterrupt):
    """Raised wherever the main thread is. No Exception: library code that catches those can't swallow it."""


@dataclass
class Control:
    """Whether somebody asked the run to stop, and why."""

    reason: str | None = None
    _at_once: bool = field(default=False, repr=False)

    def stop(self, reason: str) -> None:
        """Asks the run to stop after the step that it is in."""
        self.reason = reason

    @property
    def stop_requested(self) -> bool:
        return self.reason is not None

    @contextmanager
    def leaving_at_once(self) -> Iterator[None]:
        """Within it a signal, or one that came before, raises StopNow: for long work that may be done again."""
        self._at_once = True
        try:
            if self.stop_requested:
                raise StopNow(self.reason)
            yield
        finally:
            self._at_once = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The first SIGTERM or SIGINT is a request to stop; a second SIGINT leaves at once."""
        if self.stop_requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stop(reason_of(number))
        if self._at_once:
            raise StopNow(self.reason)


def reason_of(number: int) -> str:
    """What the manifest says of a signal."""
    return "interrupted from the keyboard" if number == signal.SIGINT else "asked to stop (SIGTERM)"


@contextmanager
def listening(control: Control) -> Iterator[Control]:
    """Turns the first SIGTERM or SIGINT into a request to stop; a second SIGINT leaves at once.

    Outside the main thread, where Python allows no signal handlers, only `Control.stop` stops a run.
    """
    with _handled_by(control.handle):
        yield control


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Turns SIGTERM and SIGINT into StopNow within, and StopNow into InterruptedRun on the way out.

    Raises:
        InterruptedRun: a signal came where no `Control` listened.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise StopNow(reason_of(number))

    try:
        with _handled_by(leave):
            yield
    except StopNow as stop:
        raise InterruptedRun(str(stop)) from None


@contextmanager
def signals_as_before() -> Iterator[None]:
    """SIGTERM ends the process at once within, as it does by default: for waits of libraries before a run begins."""
    with _handled_by(signal.SIG_DFL, [signal.SIGTERM]):
        yield


@contextmanager
def _handled_by(
    handler: Handler | signal.Handlers, numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
