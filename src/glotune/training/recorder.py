"""Writes what happens to the run directory, and tells the observer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from glotune.records import Event
from glotune.run_dir import RunDirectory, now
from glotune.training.observer import Observer


@dataclass
class Recorder:
    """One writer per run: ranks above 0 record nothing."""

    directory: RunDirectory
    observer: Observer
    attempt: int
    is_main: bool
    step: int = 0
    epoch: float = 0.0
    _pending: list[Event] = field(default_factory=list)

    def at(self, step: int, epoch: float) -> None:
        """Sets where the following events happen."""
        self.step, self.epoch = step, epoch

    def event(self, kind: Any, data: dict[str, Any], key: str = "", flush: bool = True) -> None:
        """Records one event; `flush=False` leaves it for the next flush, so that steps don't wait for the disk."""
        if not self.is_main:
            return
        event = Event(
            kind=kind, attempt=self.attempt, step=self.step, epoch=round(self.epoch, 6), time=now(), key=key, data=data
        )
        self._pending.append(event)
        self.observer.event(event)
        if flush:
            self.flush()

    def flush(self) -> None:
        """Appends what is pending to the event file."""
        if self._pending:
            self.directory.append_events(self._pending)
            self._pending.clear()

    def flush_if_due(self, every: int = 20) -> None:
        """Flushes when enough is pending: live readers lag by a few steps at most."""
        if len(self._pending) >= every:
            self.flush()

    def log(self, message: str) -> None:
        """One line for people: to the observer and to the run's log."""
        if not self.is_main:
            return
        self.observer.log(message)
        with self.directory.log.open("a", encoding="utf-8") as file:
            file.write(f"{now()} {message}\n")

    def warn(self, message: str) -> None:
        """A line and an event."""
        self.log(f"warning: {message}")
        self.event("warning", {"message": message}, key=message[:80])

    def deviation(self, message: str) -> None:
        """A departure from the stored plan: in the log, the events and the manifest."""
        self.log(f"deviation: {message}")
        self.event("deviation", {"message": message}, key=message[:80])
        if self.is_main:
            known = self.directory.read_manifest().deviations
            self.directory.update_manifest(deviations=[*known, message])
