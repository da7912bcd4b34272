"""The run directory: manifests that can't be half, events that survive a crash."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, tzinfo
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glotune.errors import UserError
from glotune.run.directory import RunDirectory, now
from glotune.run.lock import is_held, locked
from glotune.run.records import Evaluation, Event, Interval, Manifest, RunStatus
from glotune.verbs import lifecycle
from glotune.verbs.lifecycle import create_run


def manifest(**changes: object) -> Manifest:
    base = Manifest(name="r", status=RunStatus.RUNNING, created=now(), updated=now(), seed=0, recipe_hash="x",
                    command=["glotune"], labels=["a", "b"])  # fmt: skip
    return base.model_copy(update=changes)


def event(step: int, attempt: int = 1, value: float = 0.0, key: str = "") -> Event:
    return Event(kind="step", attempt=attempt, step=step, epoch=0.0, time=now(), key=key, data={"loss": value})


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", "name: r\n", manifest())


def test_a_directory_that_holds_a_run_is_refused_and_named(run: RunDirectory) -> None:
    with pytest.raises(UserError, match="glotune resume"):
        RunDirectory.create(run.path, "", manifest())


def test_a_place_that_cannot_be_written_is_a_users_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        RunDirectory.create(tmp_path / "file" / "run", "", manifest())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_the_manifest_round_trips(run: RunDirectory) -> None:
    run.update_manifest(status=RunStatus.COMPLETE, best_step=7)
    again = RunDirectory.open(run.path).read_manifest()
    assert (again.status, again.best_step) == (RunStatus.COMPLETE, 7)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 99}', '{"name": 3}', "\x00", "[" * 100_000])
def test_a_broken_manifest_is_one_clear_error(run: RunDirectory, content: str) -> None:
    run.manifest_path.write_text(content)
    with pytest.raises(UserError, match="manifest"):
        run.read_manifest()


def test_a_later_attempt_supersedes_what_came_after_the_step_it_resumed_from(run: RunDirectory) -> None:
    run.append_events([event(step, 1, value=1.0) for step in (1, 2, 3, 4)])
    run.append_events([event(2, 2, value=2.0, key="resume"), event(3, 2, value=2.0)])
    kept = [(found.step, found.key, found.data["loss"]) for found in run.events()]
    assert kept == [(1, "", 1.0), (2, "", 1.0), (2, "resume", 2.0), (3, "", 2.0)]


@given(st.integers(0, 400))
def test_a_torn_tail_loses_only_the_torn_line(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    run = RunDirectory.create(tmp_path_factory.mktemp("torn") / "run", "", manifest())
    run.append_events([event(step) for step in (1, 2, 3)])
    content = run.events_path.read_bytes()
    run.events_path.write_bytes(content[: max(0, len(content) - cut)])
    whole = run.events_path.read_bytes().count(b"\n")
    assert [found.step for found in run.events()] == [1, 2, 3][:whole]
    run.heal_events()
    run.append_events([event(9, 2)])
    assert run.events()[-1].step == 9
    assert run.events_path.read_bytes().count(b"\n") == whole + 1


def test_metrics_round_trip(run: RunDirectory) -> None:
    scores = {"accuracy": 0.5, "roc_auc": None}
    run.write_metrics(
        [
            Evaluation(
                split="test", language="bn", n=4, scores=scores, intervals={"accuracy": Interval(low=0.1, high=0.9)}
            )
        ]
    )
    entry = run.read_metrics()["test"]["bn"]
    assert (entry["n"], entry["accuracy"], entry["roc_auc"]) == (4, 0.5, None)
    assert entry["intervals"]["accuracy"] == {"low": 0.1, "high": 0.9, "level": 0.95}


def test_a_second_process_is_refused_and_a_dead_ones_lock_is_taken_over(run: RunDirectory) -> None:
    with locked(run.lock):
        assert f"process {os.getpid()}" in str(is_held(run.lock))
        with pytest.raises(UserError, match="in use by another process"), locked(run.lock):
            pytest.fail("two holders")
    assert is_held(run.lock) is None
    run.lock.write_text('{"pid": 1, "host": "gone", "since": "then"}')
    with locked(run.lock):
        pass


def test_a_link_to_an_empty_folder_becomes_the_run_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o2750)
    before = (tmp_path / "disk").stat()
    (tmp_path / "out").symlink_to("disk")
    run = RunDirectory.create(tmp_path / "out", "name: r\n", manifest())
    assert (tmp_path / "out").is_symlink()
    assert RunDirectory.open(tmp_path / "disk").read_manifest().name == "r"
    after = (tmp_path / "disk").stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    run.withdraw()
    assert (tmp_path / "out").is_symlink()
    assert list((tmp_path / "disk").iterdir()) == []


def test_a_link_that_leads_nowhere_yet_makes_the_folder_there(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("disk/run")
    RunDirectory.create(tmp_path / "out", "name: r\n", manifest())
    assert RunDirectory.open(tmp_path / "disk" / "run").recipe.read_text() == "name: r\n"
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["run"]


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_is_left_of_a_directory_that_could_not_be_written(tmp_path: Path, exists: bool) -> None:
    if exists:
        (tmp_path / "run").mkdir()
    with pytest.raises(UnicodeEncodeError):
        RunDirectory.create(tmp_path / "run", "name: \ud800", manifest())
    assert [path.name for path in tmp_path.rglob("*")] == ["run"] * exists


def test_a_run_made_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, looked = tmp_path / "run", []

    def late(self: RunDirectory) -> None:
        looked.append(self)
        if len(looked) == 1:  # the other process comes right after the first look
            RunDirectory.create(path, "name: other\n", manifest(name="other"))
        else:
            refuse(self)

    refuse = RunDirectory._refuse_occupied
    monkeypatch.setattr(RunDirectory, "_refuse_occupied", late)
    with pytest.raises(UserError, match="holds a run already"):
        RunDirectory.create(path, "name: r\n", manifest())
    assert RunDirectory.open(path).read_manifest().name == "other"
    assert [found.name for found in tmp_path.iterdir()] == ["run"]


def test_runs_that_begin_in_the_same_second_get_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Still(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime(2026, 1, 2, 3, 4, 5)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lifecycle, "datetime", Still)
    with ThreadPoolExecutor(4) as pool:
        made = pool.map(lambda number: create_run(None, "toy", f"name: {number}\n", manifest()), range(4))
        paths = [run.path.name for run in made]
    stem = "toy-20260102-030405"
    assert sorted(paths) == [stem, f"{stem}-2", f"{stem}-3", f"{stem}-4"]
    assert sorted((Path("runs") / name / "recipe.yaml").read_text() for name in paths) == [
        f"name: {number}\n" for number in range(4)
    ]
    assert len(list(Path("runs").iterdir())) == 4
    with pytest.raises(UserError, match="holds a run already"):  # a name that the user gave is taken at its word
        create_run(Path("runs") / stem, "toy", "", manifest())
