"""`glotune quickstart`: trains, shows, goes on or starts again, by what lies in runs/quickstart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glotune.cli import quickstart as module
from glotune.cli import results, resume, train
from glotune.errors import UserError
from glotune.run.directory import RunDirectory, now
from glotune.run.lock import locked
from glotune.run.records import Manifest, RunStatus


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    made: list[tuple[str, Any]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "train", lambda recipe, overrides, out: made.append(("train", recipe)))
    monkeypatch.setattr(resume, "resume", lambda path: made.append(("resume", path)))
    monkeypatch.setattr(results, "show_run", lambda path: made.append(("show", path)))
    return made


def make_run(status: RunStatus) -> RunDirectory:
    manifest = Manifest(
        name="quickstart", status=status, created=now(), updated=now(), seed=0, recipe_hash="x", command=[], labels=[]
    )
    return RunDirectory.create(module.DIRECTORY, "name: quickstart\n", manifest)


def test_the_first_call_trains(calls: list[tuple[str, Any]]) -> None:
    module.quickstart()
    assert calls == [("train", "quickstart")]


def test_a_finished_run_is_shown(calls: list[tuple[str, Any]]) -> None:
    make_run(RunStatus.COMPLETE)
    module.quickstart()
    assert calls == [("show", module.DIRECTORY)]


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.INTERRUPTED, RunStatus.FAILED])
def test_an_unfinished_run_goes_on(calls: list[tuple[str, Any]], status: RunStatus) -> None:
    make_run(status)
    module.quickstart()
    assert calls == [("resume", module.DIRECTORY)]


def test_fresh_begins_anew_and_keeps_nothing(calls: list[tuple[str, Any]]) -> None:
    make_run(RunStatus.COMPLETE)
    module.quickstart(fresh=True)
    assert calls == [("train", "quickstart")]
    assert list(Path("runs").iterdir()) == []


def test_fresh_leaves_a_run_alone_that_is_being_written(calls: list[tuple[str, Any]]) -> None:
    run = make_run(RunStatus.RUNNING)
    with locked(run.lock), pytest.raises(UserError, match="in use by another process"):
        module.quickstart(fresh=True)
    assert run.manifest_path.exists()
    assert calls == []


def test_fresh_deletes_no_folder_of_another_origin(calls: list[tuple[str, Any]]) -> None:
    module.DIRECTORY.mkdir(parents=True)
    (module.DIRECTORY / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not a run directory"):
        module.quickstart(fresh=True)
    assert (module.DIRECTORY / "thesis.txt").read_text() == "precious"
    assert calls == []
