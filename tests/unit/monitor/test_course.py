"""Events sorted as they come say what they say when sorted all at once, however they are cut, resumed and repeated."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glotune.monitor import watcher as watching
from glotune.monitor.watcher import Course, Watcher
from glotune.run.directory import RunDirectory, events_that_count
from glotune.run.history import read_history
from glotune.run.records import Event
from made_events import event
from made_runs import make_run

KINDS = st.sampled_from(["step", "step", "step", "evaluation", "alert", "best"])


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Up to three attempts, each going on from a step of the one before; now and then something is said twice."""
    events: list[Event] = []
    begin = 0
    for attempt in range(1, draw(st.integers(1, 3)) + 1):
        if attempt > 1:
            events.append(event("status", begin, key=f"attempt {attempt}", attempt=attempt))
        end = begin + draw(st.integers(0, 12))
        for step in range(begin + 1, end + 1):
            kind = draw(KINDS)
            value = draw(st.floats(0, 1))
            data = {"what": "collapsed"} if kind == "alert" else {"loss": value, "macro_f1": value}
            key = "validation/en" if kind == "evaluation" else ""
            events += [event(kind, step, key=key, attempt=attempt, **data)] * draw(st.sampled_from([1, 1, 1, 2]))
        begin = draw(st.integers(0, end))
    return events


@given(histories(), st.lists(st.integers(1, 9), max_size=12))
@settings(max_examples=40, deadline=None)
def test_however_events_arrive(tmp_path_factory: pytest.TempPathFactory, events: list[Event], cuts: list[int]) -> None:
    run = made(tmp_path_factory)
    run.events_path.unlink(missing_ok=True)
    live = Watcher(run)
    at = 0
    for cut in [*cuts, len(events)]:
        run.append_events(events[at : at + cut])
        at += cut
        live.look()
    whole = Watcher(run).look()
    seen = live.look()
    for name in ("step", "epoch", "loss", "learning_rate", "languages", "validation_loss", "best_step", "verdict"):
        assert repr(getattr(seen, name)) == repr(getattr(whole, name)), name
    told = read_history(events_that_count(events))
    assert [y for _, y in seen.loss.points] == [point.loss for point in told.steps]
    assert seen.notices == told.notices


MADE: list[RunDirectory] = []


def made(factory: pytest.TempPathFactory) -> RunDirectory:
    if not MADE:
        MADE.append(make_run(factory.mktemp("runs") / "run", "running"))
    return MADE[0]


def test_nothing_new_is_the_same_view_and_no_file_is_opened(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "sound")
    run.log.write_text("a line\n")
    watcher = Watcher(run)
    view = watcher.look()
    with (
        patch.object(Path, "open", side_effect=AssertionError),
        patch.object(Path, "read_bytes", side_effect=AssertionError),
    ):
        assert watcher.look() is view
    run.append_events([event("step", 121, loss=0.5)])
    assert watcher.look().step == 121


def test_new_steps_are_sorted_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "running", epochs=60)
    watcher = Watcher(run)
    watcher.look()
    sorted_in: list[int] = []
    add = Course.add

    def counted(self: Course, events: list[Event]) -> None:
        sorted_in.append(len(events))
        add(self, events)

    with patch.object(Course, "add", counted), patch.object(watching, "events_that_count", side_effect=AssertionError):
        for step in range(601, 611):
            run.append_events([event("step", step, loss=0.5)])
            assert watcher.look().step == step
    assert sorted_in == [1] * 10


def test_a_file_that_became_shorter_is_read_from_the_start(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "running")
    watcher = Watcher(run)
    assert watcher.look().step == 60
    run.events_path.unlink()
    run.append_events([event("step", 3, loss=0.5)])
    view = watcher.look()
    assert (view.step, len(view.loss.points)) == (3, 1)
