"""Sends one run to one tracker: live beside its training, or afterwards. Reads the run, writes only to its own folder.

Training neither waits for this process nor hears of it. An outage is met by trying again, at growing distance; what
could not be sent stays in the run directory, and ``glotune track`` sends it later.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeVar

from glotune.errors import GlotuneError, RunError
from glotune.run.directory import RunDirectory, events_that_count, write_atomically
from glotune.run.lock import locked
from glotune.run.records import Event
from glotune.run.state import State, read_holder, state_of
from glotune.run.system import Probe
from glotune.run.tail import Tail
from glotune.tracking.messages import About, Closing, Notice, Point, about, closing, messages
from glotune.verbs.trackers import TRACKERS, check_trackers

T = TypeVar("T")
Log = Callable[[str], None]
Key = tuple[str, int, str]

POINTS_AT_ONCE = 500
LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Pace:
    """How often things happen, in seconds."""

    poll: float = 2.0
    """Between looks at the event file."""
    system: float = 15.0
    """Between measurements of the system."""
    patience: float = 600.0
    """How long an outage is waited out after the run has ended."""
    report: float = 120.0
    """How long the report of a run that was followed to its end is waited for: it is drawn after the last event."""


class Sender:
    """One run, one tracker, one process at a time."""

    def __init__(self, run: RunDirectory, name: str, log: Log, pace: Pace) -> None:
        self.run, self.name, self.log, self.pace = run, name, log, pace
        self._folder = run.path / "tracking"
        self._place = self._folder / f"{name}.json"
        self._sent: set[Key] = set()
        self._step = 0
        self._ended: float | None = None

    def send(self, *, follow: bool = True) -> None:
        """Sends what is there, and with `follow` what comes until the run ends.

        Raises:
            UserError: unknown tracker, missing package, another process is sending, no manifest.
            RunError: the tracker could not be reached for as long as the pace allows.
        """
        self._folder.mkdir(exist_ok=True)
        with locked(self._folder / f"{self.name}.lock"):
            sink = make_sink(self.name, self._folder / self.name)
            self._begin()
            told = about(self.run)
            if self._is_all_sent():
                self.log(f"{self.run.path} was sent to {self.name} already, with all that it holds")
                return
            self._insist(partial(self._open, sink, told))
            state = self._follow(sink, follow)
            self._end(sink, state)

    def _begin(self) -> None:
        """Takes up the earlier progress, and notes which events it covers."""
        self._progress = Progress.load(self._place)
        earlier = Tail(self.run.events_path)
        # What the offset covers, and no event more: the run goes on writing meanwhile.
        sent = earlier.read(until=self._progress.offset)
        if earlier.offset < self._progress.offset:  # another file than the one that was sent
            self._progress.offset, sent = 0, []
        self._sent = {_key(event) for event in sent}
        self._tail = Tail(self.run.events_path, self._progress.offset)

    def _is_all_sent(self) -> bool:
        at_end = not Tail(self.run.events_path, self._progress.offset).read()
        return at_end and self._progress.closed == self._end_name(state_of(self.run))

    def _end_name(self, state: State) -> str:
        return f"{state.value}@{self.run.read_manifest().attempt}"

    def _open(self, sink: Sink, told: About) -> None:
        self._progress.remote, self._progress.where = sink.open(told, self._progress.remote)
        self._progress.save(self._place)
        self.log(f"sending {self.run.path} to {self.name}: {self._progress.where}")

    def _follow(self, sink: Sink, follow: bool) -> State:
        """Until the run has ended and all of it is sent; returns its state."""
        probe, looked, followed = Probe(), time.monotonic(), False
        while True:
            state = state_of(self.run)  # before reading, so that nothing written before the end is missed
            if state is not State.RUNNING and self._ended is None:
                self._ended = time.monotonic()
            self._send_new(sink)
            if state is not State.RUNNING or not follow:
                if state is State.COMPLETE and followed:
                    self._await_report()
                return state
            followed = True
            if time.monotonic() - looked >= self.pace.system:
                looked = time.monotonic()
                holder = read_holder(self.run.lock)
                measured = probe.look(holder.pid if holder else None).scalars()
                self._insist(partial(sink.points, [Point(self._step, time.time(), measured)]))
            time.sleep(self.pace.poll)

    def _await_report(self) -> None:
        """Until report.html, the last of the report's files, is as new as the end of the run."""
        page, ended = self.run.report / "report.html", self.run.manifest_path.stat().st_mtime
        deadline = time.monotonic() + self.pace.report
        while time.monotonic() < deadline:
            if page.exists() and page.stat().st_mtime >= ended:
                return
            time.sleep(min(self.pace.poll, 1.0))

    def _send_new(self, sink: Sink) -> None:
        """Sends events not sent before. A resumed attempt repeats steps to the same metrics: the first ones stand."""
        fresh = self._tail.read()
        events = [event for event in events_that_count(fresh) if _key(event) not in self._sent]
        for batch in _batches(list(messages(events))):
            if isinstance(batch, Notice):
                self._insist(partial(sink.notice, batch))
            else:
                self._insist(partial(sink.points, batch))
        if fresh:
            self._sent.update(_key(event) for event in fresh)
            self._step = max(self._step, *(event.step for event in fresh))
            self._progress.offset = self._tail.offset
            self._progress.save(self._place)

    def _end(self, sink: Sink, state: State) -> None:
        running = state is State.RUNNING
        leaves = None if running else closing(self.run, state.value, self._folder)
        self._insist(partial(sink.close, leaves))
        self._progress.closed = "" if running else self._end_name(state)
        self._progress.save(self._place)
        self.log(f"sent to {self.name}: {self.run.path} is {state.value}")

    def _insist(self, call: Callable[[], T]) -> T:
        """Calls until it succeeds, waiting longer each time; gives up some time after the run has ended."""
        pause = 1.0
        while True:
            try:
                return call()
            except GlotuneError:
                raise
            except Exception as error:  # whatever a tracker's client raises
                reason = _first_line(error)
                if self._gave_up(pause):
                    raise RunError(
                        f"{self.name} could not be reached ({reason}). The run itself is not affected; send it later "
                        f"with: glotune track {self.run.path} --to {self.name}"
                    ) from error
                self.log(f"{self.name} does not answer ({reason}); trying again in {pause:g} s")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _gave_up(self, pause: float) -> bool:
        if self._ended is None and state_of(self.run) is not State.RUNNING:
            self._ended = time.monotonic()
        return self._ended is not None and time.monotonic() + pause - self._ended > self.pace.patience


def _key(event: Event) -> Key:
    return (event.kind, event.step, event.key)


def _batches(told: list[Point | Notice]) -> Iterator[list[Point] | Notice]:
    """Neighbouring points together, in order."""
    points: list[Point] = []
    for message in told:
        if isinstance(message, Point):
            points.append(message)
        if points and (isinstance(message, Notice) or len(points) >= POINTS_AT_ONCE):
            yield points
            points = []
        if isinstance(message, Notice):
            yield message
    if points:
        yield points


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@dataclass
class Progress:
    """Kept in ``RUN/tracking/NAME.json``."""

    remote: str | None = None
    """The tracker's id of the run; None before it was opened."""
    offset: int = 0
    """Bytes of ``events.jsonl`` that were sent."""
    closed: str = ""
    """The end that was sent last, as ``state@attempt``; empty while none was."""
    where: str = ""
    """The run's page, or how to open it, in the tracker's words; reports link to it."""

    @classmethod
    def load(cls, path: Path) -> Progress:
        """From its file; at the start where there is none, or none that can be read."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            where = str(content["where"]) if "where" in content else ""
            return cls(str(content["remote"]), int(content["offset"]), str(content["closed"]), where)
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        write_atomically(path, json.dumps(asdict(self)) + "\n")


class Sink(Protocol):
    """One tracked run. Every call may raise: the sender tries again later, and training never knows."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the tracker's own, inside the run directory."""

    def open(self, about: About, remote: str | None) -> tuple[str, str]:
        """Begins a tracked run, or continues `remote`; returns its id and one line: where to see it."""

    def points(self, points: list[Point]) -> None:
        """Sends scalars, in the order of their steps."""

    def notice(self, notice: Notice) -> None:
        """Sends a line."""

    def close(self, closing: Closing | None) -> None:
        """Sends what the run leaves (None: the run goes on, only the sender ends), and waits until it is stored."""


def make_sink(name: str, folder: Path) -> Sink:
    """The sink of that name; raises as `check_trackers`."""
    check_trackers([name])
    module, _, attribute = TRACKERS[name][0].partition(":")
    folder.mkdir(parents=True, exist_ok=True)
    sink: Sink = getattr(import_module(module), attribute)(folder)
    return sink
