"""What a watcher tells of runs in every state, and that it only reads."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from glotune.errors import UserError
from glotune.monitor.many import Fleet
from glotune.monitor.once import headline
from glotune.monitor.watcher import Watcher
from glotune.run.directory import RunDirectory, now
from glotune.run.lock import locked
from glotune.run.records import RunStatus
from glotune.run.state import State
from made_events import event
from made_runs import make_run


def fingerprint(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_a_running_run_tells_where_it_is_and_when_it_will_be_done(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "running")
    with locked(run.lock):
        before = fingerprint(run.path)
        view = Watcher(run).look()
        assert fingerprint(run.path) == before
    assert view.state is State.RUNNING
    assert (view.step, view.total_steps, view.epoch, view.epochs) == (60, 120, 3.0, 6)
    assert view.pace.seconds_left == pytest.approx(60 * 0.4)
    tokens = [point.data["tokens"] for point in run.events() if point.kind == "step"]
    assert view.pace.tokens_per_second == pytest.approx(sum(tokens[-50:]) / (50 * 0.4))
    assert view.pace.padding_saved == pytest.approx(1 - sum(tokens) / (60 * 64 * 128))
    assert [row.code for row in view.languages[:4]] == ["en", "ar", "bn", "hi"]
    assert all(len(row.values) == 3 for row in view.languages)
    assert len(view.validation_loss) == 3
    assert view.verdict is None


def test_only_new_lines_are_read_and_a_resumed_attempt_replaces_what_it_repeats(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "running")
    watcher = Watcher(run)
    assert watcher.look().step == 60
    run.append_events([event("status", 50, key="2", attempt=2), event("step", 51, attempt=2, loss=9.0)])
    view = watcher.look()
    assert view.step == 51
    assert view.loss.last == 9.0
    with run.events_path.open("ab") as file:
        file.write(b'{"kind": "step", "attempt": 2, "st')
    assert watcher.look().step == 51


def test_a_crashed_run_a_foreign_one_and_a_finished_one(tmp_path: Path) -> None:
    crashed = make_run(tmp_path / "crashed", "running")
    assert Watcher(crashed).look().state is State.CRASHED
    foreign = make_run(tmp_path / "foreign", "running")
    foreign.lock.write_text(json.dumps({"pid": 1, "host": "far-away", "since": now()}))
    assert Watcher(foreign).look().state is State.ELSEWHERE
    finished = Watcher(make_run(tmp_path / "finished", "collapsed")).look()
    assert (finished.state, finished.verdict) == (State.COMPLETE, "collapsed")
    assert finished.pace.seconds_left is None
    assert finished.step == finished.total_steps == 120


def test_alarms_stand_before_there_is_a_verdict(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "running")
    run.append_events([event("alert", 60, what="collapsed", message="every text is called 'negative'")])
    with locked(run.lock):
        view = Watcher(run).look()
    assert view.verdict == "collapsed?"
    assert view.notices[-1].message == "every text is called 'negative'"


def test_silence_is_called_a_stall_only_while_the_process_lives(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "running")

    def age() -> None:
        for path in (run.events_path, run.manifest_path, run.lock):
            if path.exists():
                os.utime(path, (time.time() - 1000, time.time() - 1000))

    with locked(run.lock):
        assert Watcher(run).look().verdict is None
        age()
        view = Watcher(run).look()
        assert view.verdict == "stalled?"
        assert "no sign of life for 16 min 40 s" in view.notices[-1].message
        run.append_events([event("step", 61, loss=1.0, wall={"seconds": 60.0})])
        age()
        assert Watcher(run).look().verdict is None, "slow steps are no stall"
    age()
    assert Watcher(run).look().verdict is None


def test_checkpoints_carry_size_score_and_the_best_mark(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "overfit")
    for name, size in (("best-00000040", 10), ("step-00000120", 20), (".step-00000140.tmp", 5)):
        (run.checkpoints / name).mkdir(parents=True)
        (run.checkpoints / name / "weights.safetensors").write_bytes(b"x" * size)
    best, last = Watcher(run).look().checkpoints
    assert (best.name, best.bytes, best.is_best) == ("best-00000040", 10, True)
    assert (last.step, last.is_best) == (120, False)
    at_best = [event.data["macro_f1"] for event in run.events() if event.key == "validation/en" and event.step == 40]
    assert best.metric == at_best[0]
    assert headline(Watcher(run).look()) == at_best[0]


def test_a_run_without_events_or_with_a_broken_recipe_is_shown_all_the_same(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "running")
    run.events_path.unlink()
    run.recipe.write_text("nonsense: [")
    view = Watcher(run).look()
    assert (view.step, view.total_steps, view.languages) == (0, None, ())
    assert "recipe.yaml is not read" in view.problems[0]


def test_many_runs_come_and_go_and_an_unreadable_one_is_named(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "sound")
    running = make_run(tmp_path / "study" / "b", "running")
    fleet = Fleet(tmp_path)
    with locked(running.lock):
        views, _ = fleet.look()
        assert [view.path.name for view in views] == ["b", "a"]
        broken = make_run(tmp_path / "c", "sound")
        broken.manifest_path.write_text("{")
        fleet.expire()
        views, _ = fleet.look()
        assert len(views) == 2
        assert str(broken.manifest_path) in fleet.problems[0]
        broken.manifest_path.unlink()
    running.update_manifest(status=RunStatus.INTERRUPTED)
    fleet.expire()
    views, machine = fleet.look()
    assert {view.state for view in views} == {State.INTERRUPTED, State.COMPLETE}
    assert machine.memory_total_gib > 0


def test_a_place_without_runs(tmp_path: Path) -> None:
    assert Fleet(tmp_path).look()[0] == []
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("[]")
    with pytest.raises(UserError):
        Watcher(RunDirectory(tmp_path / "run")).look()
