from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress, TextColumn

from glotune.cli.progress import Bars, Lines, event_line, seconds_left
from glotune.run.records import Event


def event(kind: str, key: str = "", **data: object) -> Event:
    return Event(kind=kind, attempt=1, step=4, epoch=1.0, time="2026-01-01T00:00:00+00:00", key=key, data=data)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_are_some_seconds_apart_and_tell_the_time_left() -> None:
    clock, lines = Clock(), []
    watcher = Lines(clock, lines.append)
    for step in range(101):
        clock.now = float(step)
        watcher.progress("train", step, 100, {"loss": 0.5, "tokens_per_second": 1234.4})
    assert len(lines) == 10
    assert lines[0] == "Train: 10 of 100, loss 0.5000, 1,234 tokens/s, 1 min 30 s left"
    assert lines[-1] == "Train: 100 of 100, loss 0.5000, 1,234 tokens/s"


def test_a_resumed_stage_tells_the_time_left_at_the_pace_of_this_attempt() -> None:
    clock, lines = Clock(), []
    watcher = Lines(clock, lines.append)
    for step in range(81, 101):  # 80 steps were made by an earlier attempt
        clock.now = float(step - 81)
        watcher.progress("train", step, 100, {})
    assert lines[0] == "Train: 91 of 100, 9 s left"


def test_a_resumed_bar_tells_the_time_left_at_the_pace_of_this_attempt() -> None:
    clock = Clock()
    with Progress(console=Console(file=io.StringIO()), auto_refresh=False, get_time=clock) as progress:
        bars = Bars(progress)
        for step in range(81, 92):
            clock.now = float(step - 81)
            bars.progress("train", step, 100, {})
        assert progress.tasks[0].time_remaining == 9


def test_short_stages_stay_silent() -> None:
    lines: list[str] = []
    watcher = Lines(Clock(), lines.append)
    watcher.progress("evaluate", 0, 5, {})
    watcher.progress("evaluate", 5, 5, {})
    assert lines == []


def test_seconds_left() -> None:
    assert seconds_left(10, 1, 2) == 10
    assert seconds_left(3600, 1, 3) == 7200


def test_event_lines() -> None:
    shown = event_line(event("epoch", "train", n=10, loss=0.5, macro_f1=0.25))
    assert shown == "epoch 1: training loss 0.5000, macro-f1 0.2500"
    assert event_line(event("alert", message="collapsed")) == "Alert: collapsed"
    assert event_line(event("step", loss=1.0)) is None
    assert event_line(event("warning", message="logged already")) is None


def test_bars_show_one_stage_at_a_time_and_messages_unmarked() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, highlight=False)
    with Progress(
        TextColumn("{task.description} {task.completed} {task.fields[metrics]}"), console=console, auto_refresh=False
    ) as progress:
        bars = Bars(progress)
        bars.progress("train", 1, 2, {"loss": 0.25})
        assert len(progress.tasks) == 1
        bars.log("trained [bold]not markup[/bold]")
        bars.progress("train", 2, 2, {"loss": 0.25})
        assert progress.tasks == []
    assert "[bold]not markup[/bold]" in stream.getvalue()
