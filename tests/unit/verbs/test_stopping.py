"""`glotune stop` against real processes: graceful, at once, deaf, dead, foreign, finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glotune.errors import RunError, UserError
from glotune.run.directory import RunDirectory, now
from glotune.run.lock import locked
from glotune.run.records import Manifest, RunStatus
from glotune.run.state import State, find_runs, state_of
from glotune.verbs.stop import stop

HOLD = """
import sys, time, signal
from glotune.errors import InterruptedRun
from glotune.run.records import RunStatus
from glotune.run.directory import RunDirectory
from glotune.run.lock import locked
from glotune.engine.processes import Control, listening
run, kind = RunDirectory.open(sys.argv[1]), sys.argv[2]
with locked(run.lock):
    if kind == "deaf":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready", flush=True)
        time.sleep(60)
    try:
        with listening(Control()) as control:
            print("ready", flush=True)
            while kind == "busy" or not control.stop_requested:
                time.sleep(0.02)
        run.update_manifest(status=RunStatus.COMPLETE if kind == "ending" else RunStatus.INTERRUPTED,
                            reason=control.reason + ", after step 7")
    except KeyboardInterrupt:
        run.update_manifest(status=RunStatus.INTERRUPTED, reason="interrupted")
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    manifest = Manifest(name="r", status=RunStatus.RUNNING, created=now(), updated=now(), seed=0, recipe_hash="x",
                        command=["glotune"], labels=["a", "b"])  # fmt: skip
    return RunDirectory.create(tmp_path / "run", "name: r\n", manifest)


@pytest.fixture
def hold(run: RunDirectory) -> Iterator[object]:
    started: list[subprocess.Popen[str]] = []

    def start(kind: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path), kind], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.extras
def test_a_run_is_asked_and_waited_for(run: RunDirectory, hold) -> None:
    process = hold("listening")
    told: list[str] = []
    assert state_of(run) is State.RUNNING
    line = stop(run, log=told.append)
    assert process.poll() == 0 or process.wait(5) == 0
    assert "asked to stop (SIGTERM), after step 7" in line
    assert f"glotune resume {run.path}" in line
    assert str(process.pid) in told[0]
    assert state_of(run) is State.INTERRUPTED


@pytest.mark.extras
def test_a_busy_run_is_not_waited_for_longer_than_told(run: RunDirectory, hold) -> None:
    process = hold("busy")
    with pytest.raises(RunError, match="--now"):
        stop(run, timeout=0.3, log=lambda line: None)
    assert process.poll() is None
    assert state_of(run) is State.RUNNING


def test_now_ends_a_busy_run_which_writes_its_status(run: RunDirectory, hold) -> None:
    process = hold("busy")
    line = stop(run, now=True, log=lambda line: None)
    assert process.wait(5) == 0
    assert "stopped (interrupted)" in line


@pytest.mark.extras
def test_now_kills_a_deaf_run_and_settles_its_status(run: RunDirectory, hold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glotune.verbs.stop.PATIENCE_SECONDS", 0.2)
    process = hold("deaf")
    line = stop(run, now=True, log=lambda line: None)
    assert process.wait(5) == -signal.SIGKILL
    assert "stopped at once" in line
    assert run.read_manifest().status is RunStatus.INTERRUPTED


@pytest.mark.extras
def test_a_run_that_completes_meanwhile_is_called_complete(run: RunDirectory, hold) -> None:
    hold("ending")
    assert "it is complete" in stop(run, log=lambda line: None)


def test_a_dead_run_is_settled(run: RunDirectory, hold) -> None:
    process = hold("busy")
    process.kill()
    process.wait()
    assert state_of(run) is State.CRASHED
    line = stop(run, log=lambda line: None)
    assert "its process is gone" in line
    assert f"glotune resume {run.path}" in line
    assert run.read_manifest().status is RunStatus.INTERRUPTED


def test_another_machines_run_is_refused_with_the_way_to_stop_it(run: RunDirectory) -> None:
    run.lock.write_text(json.dumps({"pid": 1, "host": "far-away", "since": now()}))
    assert state_of(run) is State.ELSEWHERE
    with pytest.raises(UserError, match=f"ssh far-away glotune stop {run.path}"):
        stop(run, log=lambda line: None)
    assert run.read_manifest().status is RunStatus.RUNNING


def test_a_finished_run_is_left_as_it_is(run: RunDirectory) -> None:
    run.update_manifest(status=RunStatus.COMPLETE)
    before = run.manifest_path.read_bytes()
    assert stop(run, log=lambda line: None) == f"{run.path} is not running: it is complete."
    assert run.manifest_path.read_bytes() == before


def test_a_reused_process_id_is_no_running_run(run: RunDirectory) -> None:
    run.lock.write_text(json.dumps({"pid": os.getpid(), "host": os.uname().nodename, "since": now()}))
    assert state_of(run) is State.CRASHED
    with locked(run.lock):
        assert state_of(run) is State.RUNNING


def test_looking_at_a_dead_run_never_turns_away_who_resumes_it(run: RunDirectory, hold) -> None:
    process = hold("busy")
    process.kill()
    process.wait()
    looked = 0
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        assert state_of(run) is State.CRASHED
        looked += 1
    with locked(run.lock):
        pass
    assert looked > 10


def test_runs_are_found_in_folders_of_studies_and_not_in_themselves(run: RunDirectory, tmp_path: Path) -> None:
    study = tmp_path / "study" / "lr-1e-4"
    RunDirectory.create(study / "seed-0", "", run.read_manifest())
    RunDirectory.create(tmp_path / ".aside.1.tmp" / "x", "", run.read_manifest())
    assert [found.path for found in find_runs(tmp_path)] == [run.path, study / "seed-0"]
    assert [found.path for found in find_runs(run.path)] == [run.path]
