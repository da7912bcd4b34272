"""How far a study is, over all its runs, and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from glotune.words import duration

SHARE_OF = {"tokenize": (0.0, 0.05), "cache": (0.05, 0.15), "train": (0.15, 0.9), "evaluate": (0.9, 1.0)}
"""Stage -> where a run stands when it begins and ends, roughly; only the time left depends on it."""


@dataclass(frozen=True)
class Progress:
    """Where the study stands."""

    done: int
    """Runs that ended, those of earlier sessions included."""
    total: int
    running: tuple[tuple[str, float], ...]
    """Name and share done of each run under way."""
    elapsed: float
    """Seconds of this session."""
    seconds_left: float | None
    """At the pace of this session; None before anything can be told."""


class Watcher(Protocol):
    """Sees what happens in a study."""

    def say(self, message: str) -> None:
        """One line for people."""

    def progress(self, progress: Progress) -> None:
        """Where the study stands now."""


class SilentWatcher:
    """Sees nothing."""

    def say(self, message: str) -> None:
        """Drops the line."""

    def progress(self, progress: Progress) -> None:
        """Drops it."""


class Tally:
    """Counts the runs."""

    def __init__(
        self,
        names: Sequence[str],
        watcher: Watcher,
        clock: Callable[[], float] = time.monotonic,
        total: int | None = None,
    ) -> None:
        self._planned, self._watcher, self._clock = len(names) if total is None else total, watcher, clock
        self._skipped: set[str] = set()
        self._ended: set[str] = set()
        self._shares: dict[str, float] = {}
        self._since: dict[str, float] = {}
        self._spared: dict[str, float] = {}
        """The share of a run that an earlier session had trained."""
        self._started = clock()

    @property
    def total(self) -> int:
        """Runs in all: those that were planned, or more where a budget of time has room for more."""
        return max(self._planned, len(self._skipped) + len(self._ended) + len(self._shares))

    def say(self, message: str) -> None:
        """A line for people."""
        self._watcher.say(message)

    def skip(self, name: str) -> None:
        """A run that had ended before this session."""
        self._skipped.add(name)

    def start(self, name: str) -> None:
        """A run begins."""
        self._shares[name], self._since[name] = 0.0, self._clock()
        self._show()

    def progress(self, name: str, stage: str, done: int, total: int) -> None:
        """A run tells how far it is; it never goes back."""
        if name in self._shares and stage in SHARE_OF and total > 0:
            low, high = SHARE_OF[stage]
            if stage == "train":  # first told after a step of this session
                self._spared.setdefault(name, (high - low) * max(0, done - 1) / total)
            self._shares[name] = max(self._shares[name], low + (high - low) * min(1.0, done / total))
            self._show()

    def restart(self, name: str) -> None:
        """A run is taken back and waits again; it may be lost before it has begun."""
        self._shares.pop(name, None)

    def end(self, name: str, metrics: str) -> None:
        """A run ended; it may have begun nowhere."""
        self._shares.pop(name, None)
        self._ended.add(name)
        place = len(self._skipped) + len(self._ended)
        seconds = self._clock() - self._since.get(name, self._clock())
        left = self.state().seconds_left
        told = f"; {duration(left)} left" if left else ""
        self._watcher.say(f"[{place}/{self.total}] {name}: {metrics} ({duration(seconds)}{told})")
        self._show()

    def state(self) -> Progress:
        """Where the study stands."""
        elapsed = self._clock() - self._started
        made = len(self._ended) + sum(self._shares.values())
        worked = made - sum(self._spared.values())
        left = self.total - len(self._skipped) - made
        return Progress(
            len(self._skipped) + len(self._ended),
            self.total,
            tuple(sorted(self._shares.items())),
            elapsed,
            None if worked < 0.1 else elapsed / worked * left,
        )

    def _show(self) -> None:
        self._watcher.progress(self.state())
