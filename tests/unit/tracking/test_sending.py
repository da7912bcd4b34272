"""The sender: once, in order, through outages and resumes; and training never hears of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from glotune.errors import MissingExtra, RunError, UserError
from glotune.run.directory import RunDirectory
from glotune.run.lock import locked
from glotune.run.records import RunStatus
from glotune.run.tail import Tail
from glotune.tracking.messages import About, Closing, Notice, Point
from glotune.tracking.sending import Pace, Sender
from glotune.verbs import trackers
from glotune.verbs.trackers import start_trackers
from made_events import event
from made_runs import make_run

FAST = Pace(poll=0.02, system=0.1, patience=0.0, report=0.0)


@dataclass
class Recorded:
    """A tracker that keeps what it is told, and is down for its next `down` calls."""

    points: list[Point] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    opened: list[str | None] = field(default_factory=list)
    closings: list[Closing | None] = field(default_factory=list)
    down: int = 0

    def steps(self, name: str = "train/loss") -> list[int]:
        return [point.step for point in self.points if name in point.values]


class RecordingSink:
    told: ClassVar[Recorded]

    def __init__(self, folder: Path) -> None: ...

    def _try(self) -> None:
        if self.told.down > 0:
            self.told.down -= 1
            raise ConnectionError("no route to tracker")

    def open(self, about: About, remote: str | None) -> tuple[str, str]:
        self._try()
        self.told.opened.append(remote)
        return about.id, "nowhere"

    def points(self, points: list[Point]) -> None:
        self._try()
        self.told.points += points

    def notice(self, notice: Notice) -> None:
        self.told.notices.append(notice)

    def close(self, closing: Closing | None) -> None:
        self._try()
        self.told.closings.append(closing)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    RecordingSink.told = Recorded()
    monkeypatch.setitem(trackers.TRACKERS, "recording", (f"{__name__}:RecordingSink", "json"))
    monkeypatch.setattr("glotune.tracking.sending.LONGEST_PAUSE", 0.01)
    return RecordingSink.told


def send(run: RunDirectory, said: list[str] | None = None, *, pace: Pace = FAST, follow: bool = True) -> list[str]:
    said = [] if said is None else said
    Sender(run, "recording", said.append, pace).send(follow=follow)
    return said


def test_a_finished_run_is_sent_whole_and_only_once(tmp_path: Path, told: Recorded) -> None:
    run = make_run(tmp_path / "run", "sound")
    send(run)
    assert told.steps() == list(range(1, 121))
    assert told.steps("test/bn/macro_f1") == [20, 40, 60, 80, 100, 120]
    assert told.closings[0] is not None
    assert told.closings[0].state == "complete"
    assert "sent to recording already" in send(run)[0]
    assert len(told.opened) == 1


def test_a_run_is_followed_until_it_ends_with_system_figures(tmp_path: Path, told: Recorded) -> None:
    run = make_run(tmp_path / "run", "running")
    with locked(run.lock):
        following = threading.Thread(target=send, args=(run,))
        following.start()
        for step in range(200, 205):
            run.append_events([event("step", step, loss=1.0)])
            time.sleep(0.05)
        run.append_events([event("step", 205, loss=1.0)])
        run.update_manifest(status=RunStatus.COMPLETE)
    following.join(10)
    assert not following.is_alive()
    assert told.steps() == [*range(1, 61), *range(200, 206)]
    assert any("system/cpu_percent" in point.values for point in told.points)
    assert told.closings[-1] is not None


def test_what_a_run_writes_while_its_progress_is_read_takes_nothing_away(
    tmp_path: Path, told: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that were appended between two looks at the file were counted off those before, which were never sent."""
    run = make_run(tmp_path / "run", "running")
    read, step = Tail.read, iter(range(200, 300))

    def growing(self: Tail, *arguments: Any, **named: Any) -> Any:
        found = read(self, *arguments, **named)
        run.append_events([event("step", next(step), loss=1.0)])
        return found

    monkeypatch.setattr(Tail, "read", growing)
    send(run, follow=False)
    assert told.steps()[:60] == list(range(1, 61))


def test_the_report_is_waited_for_after_the_end(tmp_path: Path, told: Recorded) -> None:
    run = make_run(tmp_path / "run", "running")
    run.report.mkdir()
    (run.report / "report.html").write_text("of the attempt before")
    os.utime(run.report / "report.html", (1, 1))
    pace = Pace(poll=0.02, report=20)
    with locked(run.lock):
        following = threading.Thread(target=send, args=(run,), kwargs={"pace": pace})
        following.start()
        time.sleep(0.3)
        run.update_manifest(status=RunStatus.COMPLETE)
    time.sleep(0.3)
    assert told.closings == []
    (run.report / "figures").mkdir()
    (run.report / "figures" / "loss.png").write_bytes(b"x")
    (run.report / "report.html").write_text("the report")
    following.join(10)
    assert told.closings[0] is not None
    assert [path.name for path in told.closings[0].pictures] == ["loss.png"]


def test_a_resumed_run_goes_on_in_the_same_tracked_run_without_repeating(tmp_path: Path, told: Recorded) -> None:
    run = make_run(tmp_path / "run", "running")
    run.update_manifest(status=RunStatus.INTERRUPTED)
    send(run)
    assert told.steps()[-1] == 60
    run.update_manifest(status=RunStatus.COMPLETE, attempt=2)
    run.append_events([event("status", 40, key="2", attempt=2, status="running")])
    run.append_events([event("step", step, attempt=2, loss=1.0) for step in range(41, 81)])
    send(run)
    assert told.steps() == list(range(1, 81))
    assert told.opened == [None, told.opened[1]]
    assert told.opened[1] is not None
    assert [notice.kind for notice in told.notices] == ["status"]


def test_what_an_earlier_attempt_did_beyond_its_checkpoint_does_not_count(tmp_path: Path, told: Recorded) -> None:
    run = make_run(tmp_path / "run", "sound")
    run.append_events([event("status", 30, key="2", attempt=2, status="running"),
                       event("step", 31, attempt=2, loss=9.0)])  # fmt: skip
    send(run)
    assert told.steps() == list(range(1, 32))
    assert told.points[-1].values["train/loss"] == 9.0


def test_an_outage_is_waited_out(tmp_path: Path, told: Recorded) -> None:
    run = make_run(tmp_path / "run", "sound")
    told.down = 3
    said = send(run, pace=Pace(poll=0.02, patience=30))
    assert told.steps() == list(range(1, 121))
    assert sum("no route to tracker" in line for line in said) == 3


def test_a_tracker_that_stays_down_is_named_with_the_way_to_send_later(tmp_path: Path, told: Recorded) -> None:
    run = make_run(tmp_path / "run", "sound")
    before = {path: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    told.down = 10**9
    with pytest.raises(RunError, match=f"glotune track {run.path} --to recording"):
        send(run)
    assert {path: path.read_bytes() for path in run.path.iterdir() if path.is_file()} == before
    told.down = 0
    send(run)
    assert told.steps() == list(range(1, 121))


def test_two_senders_of_one_run_are_refused(tmp_path: Path, told: Recorded) -> None:
    run = make_run(tmp_path / "run", "sound")
    (run.path / "tracking").mkdir()
    with locked(run.path / "tracking" / "recording.lock"), pytest.raises(UserError, match="in use"):
        send(run)


def test_a_running_run_can_be_sent_so_far(tmp_path: Path, told: Recorded) -> None:
    run = make_run(tmp_path / "run", "running")
    with locked(run.lock):
        send(run, follow=False)
    assert told.closings == [None]


def test_an_unknown_tracker_and_a_missing_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="Did you mean 'wandb'"):
        trackers.check_trackers(["wandbb"])
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'glotune\[mlflow\]'"):
        trackers.check_trackers(["mlflow"])


def test_starting_never_harms_and_says_in_its_log_what_is_wrong(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "sound")
    started = start_trackers(run, ["no-such-tracker"])
    assert started[0].wait(60) == 2
    assert "unknown tracker" in (run.path / "tracking" / "no-such-tracker.log").read_text()
    (tmp_path / "gone").mkdir()
    assert start_trackers(RunDirectory(tmp_path / "gone" / "deeper"), ["wandb"]) == []


def test_the_process_needs_no_torch(tmp_path: Path) -> None:
    program = "import sys, glotune.tracking.sending, glotune.verbs.trackers; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
