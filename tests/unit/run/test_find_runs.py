import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from glotune.cli.main import build_app
from glotune.errors import UserError
from glotune.monitor import many
from glotune.monitor.many import Fleet
from glotune.monitor.web import Pages
from glotune.run.state import find_runs, readable_runs
from made_runs import make_run


def test_runs_set_aside_are_left_out_and_runs_three_folders_down_are_found(tmp_path):
    make_run(tmp_path / "a", "running")
    make_run(tmp_path / "study" / "runs" / "b", "running")
    make_run(tmp_path / "study" / "runs" / ".b.failed-1", "running")
    make_run(tmp_path / "one" / "two" / "three" / "four", "running")
    (tmp_path / "link").symlink_to(tmp_path / "study")
    names = [str(run.path.relative_to(tmp_path)) for run in find_runs(tmp_path)]
    assert names == ["a", "study/runs/b"]
    assert [run.path for run, _ in readable_runs(tmp_path)[0]] == [run.path for run in find_runs(tmp_path)]
    assert [run.path for run in find_runs(tmp_path / "a")] == [tmp_path / "a"]


def forbid(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """What the system answers to whoever may not look into `folder`; as root it would answer otherwise."""

    def guarded(real: Callable[..., Any], *, itself: bool) -> Callable[..., Any]:
        def call(path: Any = ".", *arguments: Any, **named: Any) -> Any:
            place = Path(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else None
            if place is not None and (folder in place.parents or (itself and place == folder)):
                raise PermissionError(13, "Permission denied", str(place))
            return real(path, *arguments, **named)

        return call

    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name), itself=False))
    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name), itself=True))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs, and between them a folder that can't be read."""
    folder = tmp_path / "runs"
    for number, name in enumerate(("a", "c")):
        make_run(folder / name, "sound", name=name, seed=number, n=60, epochs=1)
    (folder / "b").mkdir()
    (folder / "link").symlink_to(folder / "b" / "inside")
    forbid(monkeypatch, folder / "b")
    return folder


def test_one_folder_that_can_not_be_read_hides_no_run(folder: Path) -> None:
    line = f"{folder / 'b'} can't be read (Permission denied)."
    runs, problems = readable_runs(folder)
    assert ([run.path.name for run, _ in runs], problems) == (["a", "c"], [line])
    for place in (folder, folder / "b"):
        with pytest.raises(UserError, match="can't be read"):
            find_runs(place)
    with pytest.raises(UserError, match="can't be read"):
        find_runs(folder / "b", problems=[])


def call(*arguments: str) -> Result:
    return CliRunner().invoke(build_app(arguments[0]), list(arguments))


@pytest.mark.parametrize(
    ("arguments", "before", "shown"),
    [
        (["list"], "Not listed: ", ["/a", "/c"]),
        (["compare"], "Not compared: ", ["a", "c"]),
        (["report"], "Not shown: ", ["report.md"]),
        (["clean"], "left alone: ", ["Nothing to clean"]),
        (["monitor", "--once"], "", ["a ", "c "]),
    ],
)
def test_commands_show_the_others_and_name_it(
    folder: Path, arguments: list[str], before: str, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    done = call(arguments[0], str(folder), *arguments[1:])
    assert done.exit_code == 0, (done.output, done.exception)
    assert f"{before}{folder / 'b'} can't be read (Permission denied)" in " ".join(done.output.split())
    assert [each for each in shown if each not in done.output] == []


@pytest.mark.parametrize("command", [["list"], ["report"], ["monitor", "--once"]])
def test_a_folder_of_nothing_else_is_said(tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "b").mkdir(parents=True)
    forbid(monkeypatch, tmp_path / "runs" / "b")
    done = call(command[0], str(tmp_path / "runs"), *command[1:])
    assert f"{tmp_path / 'runs' / 'b'} can't be read" in " ".join((done.output + str(done.exception)).split())


def test_the_live_monitor_shows_the_others_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"{folder / 'b'} can't be read (Permission denied)."
    state = Pages(folder).state()
    assert ({run["name"] for run in state["runs"]}, state["problems"]) == ({"a", "c"}, [line])
    monkeypatch.setattr(many, "FIND_SECONDS", 3600.0)
    fleet = Fleet(folder)
    for _ in range(2):
        assert {view.path.name for view in fleet.look()[0]} == {"a", "c"}
        assert fleet.problems == [line]
    forbid(monkeypatch, folder / "c")
    assert {view.path.name for view in fleet.look()[0]} == {"a"}
    assert fleet.problems == [line, line.replace("runs/b", "runs/c")]
    forbid(monkeypatch, folder)
    assert fleet.look()[0] == []
    assert fleet.problems == [f"{folder} can't be read (Permission denied)."]
