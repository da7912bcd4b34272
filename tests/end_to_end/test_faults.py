"""What machines do to runs: full and read-only disks, damaged files, clocks that jump, two processes on one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from glotune.engine.observer import Silent
from glotune.engine.processes import Control
from glotune.errors import InterruptedRun, RunError, UserError
from glotune.evidence.equality import differences
from glotune.recipe import Recipe
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from glotune.run.state import State, state_of
from glotune.verbs.resume import resume
from glotune.verbs.train import train
from small_runs import small_recipe


class Stopping(Silent):
    """Asks the run to stop after a number of steps."""

    def __init__(self, control: Control, after: int) -> None:
        self.control, self.after = control, after

    def progress(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if stage == "train" and done == self.after:
            self.control.stop("the test says so")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return small_recipe(tmp_path, checkpoints__every=2, checkpoints__keep=3, evaluate__every=3)


@pytest.fixture
def whole(tmp_path: Path, recipe: Recipe) -> RunDirectory:
    """The same run, left alone."""
    return train(recipe, out=tmp_path / "whole", command=[], report=False).directory


def interrupt(recipe: Recipe, out: Path, after: int) -> RunDirectory:
    control = Control()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glotune.engine.loop.Control", lambda: control)
        with pytest.raises(InterruptedRun, match="glotune resume"):
            train(recipe, out=out, observer=Stopping(control, after), command=[], report=False)
    return RunDirectory.open(out)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes; the run needs more."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    yield from mounted(folder, "size=2m")


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "read-only"
    folder.mkdir()
    yield from mounted(folder, "size=1m,ro")


def mounted(folder: Path, options: str) -> Iterator[Path]:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root and the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_fails_the_run_clearly_and_it_resumes_with_room(
    small_disk: Path, recipe: Recipe, whole: RunDirectory
) -> None:
    out = small_disk / "run"
    ballast = small_disk / "ballast"
    needed = sum(path.stat().st_size for path in whole.checkpoints.glob("step-*/*")) / 3
    ballast.write_bytes(bytes(int(2 * 2**20 - 1.5 * needed)))
    with pytest.raises(RunError, match=r"No space left on device.*glotune resume"):
        train(recipe, out=out, command=[], report=False)
    manifest = RunDirectory.open(out).read_manifest()
    assert manifest.status is RunStatus.FAILED
    assert "No space left" in str(manifest.reason)
    assert not list((out / "checkpoints").glob(".*.tmp")), "nothing half-written takes up the last space"
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert resume(out, report=False).manifest.status is RunStatus.COMPLETE
    assert differences(whole, RunDirectory(out)) == []


def test_a_full_disk_at_any_write_leaves_a_run_that_resumes(
    tmp_path: Path, recipe: Recipe, whole: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = RunDirectory.append_events
    left = {"writes": 4}

    def full(self: RunDirectory, events: object) -> None:
        left["writes"] -= 1
        if left["writes"] == 0:
            with self.events_path.open("ab") as file:
                file.write(b'{"schema":1,"kind":"st')  # what fitted
            raise OSError(28, os.strerror(28))
        plain(self, events)  # type: ignore[arg-type]

    monkeypatch.setattr(RunDirectory, "append_events", full)
    with pytest.raises(RunError, match="can't be written \\(No space left on device\\)"):
        train(recipe, out=tmp_path / "run", command=[], report=False)
    monkeypatch.undo()
    assert RunDirectory(tmp_path / "run").read_manifest().status is RunStatus.FAILED
    resume(tmp_path / "run", report=False)
    assert differences(whole, RunDirectory(tmp_path / "run")) == []


def test_a_read_only_disk_refuses_before_anything_is_trained(read_only_disk: Path, recipe: Recipe) -> None:
    with pytest.raises(UserError, match="can't be written"):
        train(recipe, out=read_only_disk / "run", command=[], report=False)


@pytest.mark.parametrize("harm", ["weights", "moments", "state", "manifest", "best", "all"])
def test_damaged_checkpoints_fall_back_and_end_the_same(
    harm: str, tmp_path: Path, recipe: Recipe, whole: RunDirectory
) -> None:
    run = interrupt(recipe, tmp_path / "run", 5)
    newest = run.checkpoints / "step-00000005"
    names = {"weights": "weights.safetensors", "moments": "optimizer.safetensors", "state": "state.json"}
    if harm == "all":
        for path in run.checkpoints.rglob("*.safetensors"):
            path.write_bytes(b"not what it was")
    elif harm == "best":
        (run.checkpoints / "best-00000003" / "weights.safetensors").unlink()
    else:
        path = newest / names.get(harm, "manifest.json")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    resumed = resume(run.path, report=False).directory
    warnings = [event.data["message"] for event in resumed.raw_events() if event.kind == "warning"]
    assert any("step-00000005 is damaged" in message for message in warnings)
    assert any("step-00000004 is damaged" in message for message in warnings) == (harm in ("best", "all"))
    # What the damage was told with is not part of the uninterrupted run's log.
    told = [line for line in differences(whole, resumed) if not line.startswith("events")]
    assert told == []


def test_no_reader_orders_by_a_clock(
    tmp_path: Path, recipe: Recipe, whole: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupt(recipe, tmp_path / "run", 5)
    for module in ("glotune.engine.recorder", "glotune.run.directory", "glotune.run.lock"):
        monkeypatch.setattr(f"{module}.now", lambda: "2001-01-01T00:00:00+00:00")
    resume(run.path, report=False)
    times = {event.time[:4] for event in run.raw_events()}
    assert len(times) == 2, "the clock jumped back by decades"
    assert differences(whole, run) == []


HOLD = """
import sys
from pathlib import Path
from glotune.run.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_a_dead_ones_lock_is_taken_over(
    tmp_path: Path, recipe: Recipe, whole: RunDirectory
) -> None:
    run = interrupt(recipe, tmp_path / "run", 3)
    before = run.events_path.read_bytes(), run.read_manifest()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"in use by another process \\(process {holder.pid} on"):
        resume(run.path, report=False)
    assert (run.events_path.read_bytes(), run.read_manifest()) == before, "the second one changed nothing"
    holder.kill()
    holder.communicate()
    run.update_manifest(status=RunStatus.RUNNING)  # as the dead process left it
    assert json.loads(run.lock.read_text())["pid"] == holder.pid
    assert state_of(run) is State.CRASHED
    resume(run.path, report=False)
    assert differences(whole, run) == []
