"""`glotune clean`: what goes is listed first, and no result or resumable run ever goes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from glotune.cli.main import build_app
from glotune.errors import UserError
from glotune.run.directory import RunDirectory, now
from glotune.run.lock import locked
from glotune.run.records import Manifest, RunStatus
from glotune.verbs.clean import Choice, delete, find


def make(folder: Path, name: str, status: RunStatus, *, saved: bool = False, checkpoint: bool = True) -> RunDirectory:
    manifest = Manifest(name=name, status=status, created=now(), updated=now(), seed=0, recipe_hash="x",
                        command=["glotune"], labels=["a", "b"])  # fmt: skip
    run = RunDirectory.create(folder / name, "", manifest)
    if checkpoint:
        (run.checkpoints / "step-00000004").mkdir(parents=True)
        (run.checkpoints / "step-00000004" / "weights.safetensors").write_bytes(b"w" * 3000)
    if saved:
        run.model.mkdir()
        (run.model / "config.json").write_text("{}")
        run.metrics_path.write_text("{}")
    return run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    make(folder, "complete", RunStatus.COMPLETE, saved=True)
    make(folder, "unsaved", RunStatus.COMPLETE)
    make(folder, "interrupted", RunStatus.INTERRUPTED)
    make(folder, "failed-late", RunStatus.FAILED)
    make(folder, "failed-early", RunStatus.FAILED, checkpoint=False)
    (folder / ".gone.999999999.tmp").mkdir()
    (folder / f".mine.{os.getpid()}.tmp").mkdir()
    (folder / "interrupted" / "checkpoints" / ".step-00000008.tmp").mkdir()
    monkeypatch.setenv("GLOTUNE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "entry").mkdir(parents=True)
    (tmp_path / "cache" / "entry" / "tokens.npy").write_bytes(b"t" * 500)
    return folder


def names(folder: Path, choice: Choice) -> set[str]:
    return {str(item.path.relative_to(folder.parent)) for item in find(folder, choice)[0]}


def test_only_what_costs_no_result_is_offered(runs: Path) -> None:
    safe = {"runs/complete/checkpoints", "runs/.gone.999999999.tmp", "runs/interrupted/checkpoints/.step-00000008.tmp"}
    assert names(runs, Choice()) == safe
    assert names(runs, Choice(failed=True)) == safe | {"runs/failed-early"}
    assert names(runs, Choice(cache=True)) == safe | {"cache"}


def test_deleting_frees_what_was_said_and_leaves_the_rest(runs: Path) -> None:
    items, _ = find(runs, Choice(failed=True, cache=True))
    sizes = {item.path.name: item.bytes for item in items}
    assert sizes["checkpoints"] == 3000
    assert sizes["cache"] == 500
    freed, problems = delete(items)
    assert (freed, problems) == (sum(sizes.values()), [])
    assert all(not item.path.exists() for item in items)
    assert (runs / "complete" / "model" / "config.json").exists()
    assert (runs / "interrupted" / "checkpoints" / "step-00000004").exists()
    assert not list(runs.rglob("*.deleted"))
    assert find(runs, Choice(failed=True, cache=True))[0] == []


def test_a_run_in_use_is_left_alone_even_when_it_starts_after_the_look(runs: Path) -> None:
    running = make(runs, "running", RunStatus.RUNNING)
    (running.checkpoints / ".step-00000008.tmp").mkdir()
    with locked(running.lock):
        items, left = find(runs, Choice(failed=True))
        assert not any(item.run and item.run.path == running.path for item in items)
        assert any("running is running" in line for line in left)
    complete = RunDirectory(runs / "complete")
    with locked(complete.lock):
        _, problems = delete([item for item in items if item.path == complete.checkpoints])
    assert "in use by another process" in problems[0]
    assert complete.checkpoints.exists()


def test_another_machines_run_is_left_alone(runs: Path) -> None:
    foreign = make(runs, "foreign", RunStatus.RUNNING, checkpoint=False)
    foreign.lock.write_text(json.dumps({"pid": 1, "host": "far-away", "since": now()}))
    items, left = find(runs, Choice(failed=True))
    assert not any(item.path == foreign.path for item in items)
    assert any("another machine" in line for line in left)


def test_the_command_lists_first_and_deletes_nothing_unasked(runs: Path) -> None:
    app = build_app("clean")
    told = CliRunner().invoke(app, ["clean", str(runs)])
    assert isinstance(told.exception, UserError)
    assert "nothing was deleted" in str(told.exception)
    assert "2.9 KiB" in told.stdout
    assert (runs / "complete" / "checkpoints").exists()
    done = CliRunner().invoke(app, ["clean", str(runs), "--yes"])
    assert done.exit_code == 0
    assert not (runs / "complete" / "checkpoints").exists()
    assert "Nothing to clean" in CliRunner().invoke(app, ["clean", str(runs), "--yes"]).output
