"""When to look again: soon while something happens, later while nothing does, and never more than a share of a core."""

from __future__ import annotations

import time
from collections.abc import Callable

SHARE = 0.005
"""Of one core's time: what watching may take in all."""
LEAST, MOST = 2.0, 10.0
"""Seconds between two looks. MOST holds even where it costs more than SHARE: a watcher that shows the past is none."""
CALM = 1.5
"""Factor on the next pause after a look that finds nothing new."""


class Pace:
    """Measures what the looks of a watcher cost, and says how long to wait for the next one."""

    def __init__(
        self,
        spent: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
        share: float = SHARE,
        most: float = MOST,
    ) -> None:
        """`spent`: processor seconds so far, of whatever is to stay below `share`."""
        self._spent, self._clock, self._share, self._most = spent, clock, share, most
        self._mark = spent()
        self._due = clock()
        self._pause = LEAST

    @property
    def wait(self) -> float:
        """Seconds until a look is due; 0 when it is."""
        return max(0.0, self._due - self._clock())

    def start(self) -> None:
        """What was spent until now is the price of the start, not of looking."""
        self._mark = self._spent()

    def looked(self, changed: bool) -> None:
        """A look is done and drawn."""
        spent = self._spent()
        cost, self._mark = spent - self._mark, spent
        calm = LEAST if changed else CALM * self._pause
        self._pause = min(self._most, max(LEAST, calm, cost / self._share))
        self._due = self._clock() + self._pause

    def expire(self) -> None:
        """A look is due at once."""
        self._due = self._clock()
