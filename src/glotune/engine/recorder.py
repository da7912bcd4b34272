"""Writes what happens to the run directory, and passes it to the observer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glotune.engine.observer import Observer
from glotune.engine.plan import plan_lines
from glotune.run.directory import RunDirectory, now, write_atomically
from glotune.run.records import Change, Event, Plan

FLUSH_EVENTS, FLUSH_SECONDS = 20, 2.0
"""Pending events are written at this number, or this many seconds after the last write."""


@dataclass
class Recorder:
    """One writer per run: ranks above 0 record nothing."""

    directory: RunDirectory
    observer: Observer
    attempt: int
    is_main: bool
    step: int = 0
    epoch: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _pending: list[Event] = field(default_factory=list)
    _flushed: float = field(default=0.0)
    """When events were last written."""

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
            self._flushed = self.clock()

    def flush_if_due(self) -> None:
        """Flushes what is many or old: live readers lag by a few steps and seconds at most."""
        if len(self._pending) >= FLUSH_EVENTS or self.clock() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def log(self, message: str) -> None:
        """One line for people: to the observer and to the run's log."""
        if not self.is_main:
            return
        self.observer.log(message)
        self.write_log(message)

    def write_log(self, message: str) -> None:
        """One line to the run's log alone, which observers get in another form at the end."""
        if not self.is_main:
            return
        with self.directory.log.open("a", encoding="utf-8") as file:
            file.write(f"{now()} {message}\n")

    def progress(self, stage: str) -> Callable[[int, int], None]:
        """A callback (done, total) that reports a stage to the observer."""
        return lambda done, total: self.observer.progress(stage, done, total, {})

    def write_json(self, path: Path, content: dict[str, Any]) -> None:
        """Writes a file of the run directory, whole or not at all."""
        if self.is_main:
            write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")

    def say_plan(self, plan: Plan, *, goes_on: bool = False) -> None:
        """Puts the plan into the log, as soon as it stands; how long all takes only where all is to be done."""
        for line in plan_lines(plan, goes_on=goes_on):
            self.log(line)

    def planned(self, plan: Plan, changes: list[Change]) -> None:
        """Puts the plan and the surgery into manifest and events, and the surgery into the log."""
        if not self.is_main:
            return
        self.directory.update_manifest(plan=plan, changes=changes)
        self.event("plan", plan.model_dump())
        for change in changes:
            self.event("change", change.model_dump(), key=change.kind)
            self.log(change.description)

    def resumed(self, name: str, damaged: list[str]) -> None:
        """Opens a later attempt: its first event stands at the step that it goes on from."""
        self.event("status", {"status": "running", "resumed_from": name}, key=f"attempt {self.attempt}")
        for line in damaged:
            self.warn(line)

    def warn(self, message: str) -> None:
        """A line and an event."""
        self.log(f"warning: {message}")
        self.event("warning", {"message": message}, key=message)

    def note(self, message: str | None) -> None:
        """What a reader of the run must know beside its numbers, in the log and once in the manifest; None: nothing."""
        if message is not None:
            self.log(message)
            self.keep_notes([message])

    def keep_notes(self, notes: Sequence[str]) -> None:
        """Puts notes into the manifest, each once."""
        if self.is_main:
            known = self.directory.read_manifest().notes
            self.directory.update_manifest(notes=[*known, *(note for note in notes if note not in known)])

    def deviation(self, message: str) -> None:
        """A departure from the stored plan: in the log, the events and the manifest."""
        self.log(f"deviation: {message}")
        self.event("deviation", {"message": message}, key=message)
        if self.is_main:
            known = self.directory.read_manifest().deviations
            self.directory.update_manifest(deviations=[*known, message])


class Unwritten(Recorder):
    """Passes everything to the observer and writes nothing: for previews."""

    def event(self, kind: Any, data: dict[str, Any], key: str = "", flush: bool = True) -> None:
        """Drops the event: it belongs to no run."""

    def log(self, message: str) -> None:
        """Passes it to the observer."""
        if self.is_main:
            self.observer.log(message)

    def deviation(self, message: str) -> None:
        """Passes it to the observer."""
        self.log(f"deviation: {message}")

    def keep_notes(self, notes: Sequence[str]) -> None:
        """Writes nothing."""

    def write_log(self, message: str) -> None:
        """Writes nothing."""

    def write_json(self, path: Path, content: dict[str, Any]) -> None:
        """Writes nothing."""
