"""What a run looks like while it runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from glotune.cli.console import err, say
from glotune.engine.observer import describe, event_line, stage_name
from glotune.run.records import Event
from glotune.words import duration

if TYPE_CHECKING:
    from glotune.engine.observer import Observer

SECONDS_BETWEEN_LINES = 10.0
"""Plain progress lines of one stage are at least so far apart."""


@contextmanager
def watch() -> Iterator[Observer]:
    """An observer that shows the run on stderr, as the stream allows."""
    if not err.is_terminal:
        yield Lines()
        return
    with Progress(
        TextColumn("{task.description:<20}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[metrics]}"),
        TimeLeft(),
        console=err,
        transient=True,
    ) as progress:
        yield Bars(progress)


class TimeLeft(ProgressColumn):
    """How long the stage will still take, in the words of everywhere else."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """Nothing before the first step: there is no pace yet."""
        left = task.time_remaining
        return Text("" if left is None else f"{duration(left)} left", style="progress.remaining")


class Bars:
    """One bar per stage; messages above the bars."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def log(self, message: str) -> None:
        """Prints the message above the bars."""
        self._progress.console.print(message, markup=False)

    def event(self, event: Event) -> None:
        """Prints the events that people wait for."""
        line = event_line(event)
        if line:
            self.log(line)

    def progress(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Moves the bar of the stage; a finished one disappears."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage_name(stage), total=total, metrics="")
        task = self._tasks[stage]
        self._progress.update(task, completed=done, total=total, metrics=describe(metrics))
        if done >= total:
            self._progress.remove_task(self._tasks.pop(stage))


class Lines:
    """One plain line every few seconds, for logs and pipes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, write: Callable[[str], None] = say) -> None:
        self._clock, self._write = clock, write
        self._started: dict[str, tuple[float, int]] = {}
        """When a stage was first reported, and how much was done by then: a resumed one does not start at 0."""
        self._written: dict[str, float] = {}

    def log(self, message: str) -> None:
        """Writes the message."""
        self._write(message)

    def event(self, event: Event) -> None:
        """Writes the events that people wait for."""
        line = event_line(event)
        if line:
            self._write(line)

    def progress(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Writes a line when the last one of this stage is some seconds old, or the stage is done after a while."""
        now = self._clock()
        started, before = self._started.setdefault(stage, (now, done))
        last = self._written.setdefault(stage, now)
        finished = done >= total
        if now - last >= SECONDS_BETWEEN_LINES or (finished and now - started >= SECONDS_BETWEEN_LINES):
            self._written[stage] = now
            worked = 0 if finished else done - before
            left = f", {duration(seconds_left(now - started, worked, total - before))} left" if worked > 0 else ""
            shown = describe(metrics)
            self._write(f"{stage_name(stage)}: {done} of {total}{', ' + shown if shown else ''}{left}")
        if finished:
            del self._started[stage], self._written[stage]


def seconds_left(elapsed: float, done: int, total: int) -> float:
    """Time left at the pace so far, in whole seconds: the rest is a guess."""
    return round(elapsed / done * (total - done))
