"""`glotune monitor --once`: complete without colour, in ASCII and in narrow terminals, and without textual."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from glotune.run.lock import locked
from made_events import event
from made_runs import make_run


def once(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    block = "import sys; sys.modules['textual'] = None; from glotune.cli.main import run; run()"
    return subprocess.run(
        [sys.executable, "-c", block, "monitor", *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_folder_is_a_table_and_the_running_runs_follow(tmp_path: Path) -> None:
    make_run(tmp_path / "done", "sound")
    running = make_run(tmp_path / "busy", "running")
    running.append_events([event("alert", 60, what="collapsed", message="one class only")])
    running.log.write_text("a line of the log\n")
    with locked(running.lock):
        told = once(str(tmp_path), "--once")
    assert told.returncode == 0, told.stderr
    table, page = told.stdout.split("\n\n", 1)
    rows = [line.split() for line in table.splitlines()]
    assert any(row[:5] == ["busy", "running", "collapsed?", "50", "%"] for row in rows)
    assert any(row[:3] == ["done", "complete", "sound"] for row in rows)
    assert "step 60 of 120, epoch 3 of 6" in page.replace("\n", " ")
    assert "ALERT step 60: one class only" in page
    assert "padding saved 7" in page
    assert "en (source)" in page
    assert "a line of the log" in page
    assert "CPU" in page
    assert "\x1b" not in told.stdout


def run_of_scores(folder: Path) -> None:
    """A run whose metric is Pearson's r, with a checkpoint where it was evaluated."""
    run = make_run(folder, "running")
    run.update_manifest(task="score", source_languages=["en"])
    run.append_events([event("evaluation", 60, key="validation/en", n=10, loss=0.5, pearson=0.4321, macro_f1=0.9)])
    (run.checkpoints / "step-00000060").mkdir(parents=True)


def test_scores_bear_the_name_of_what_they_are(tmp_path: Path) -> None:
    run_of_scores(tmp_path / "scores")
    page = once(str(tmp_path / "scores"), "--once", COLUMNS="120").stdout
    assert "Pearson's r over training" in page
    assert any(line.split() == ["checkpoint", "step", "size", "Pearson's", "r"] for line in page.splitlines())
    assert "0.4321" in page
    assert "F1" not in page
    make_run(tmp_path / "classes", "sound")
    assert "Macro-F1 over training" in once(str(tmp_path / "classes"), "--once", COLUMNS="120").stdout
    table = once(str(tmp_path), "--once", COLUMNS="120").stdout
    assert table.splitlines()[0].split() == ["run", "state", "verdict", "done", "score", "left", "loss", "begun"]
    assert "0.4321" in table


@pytest.mark.parametrize("columns", ["40", "60", "200"])
def test_one_run_in_ascii_fits_its_terminal(tmp_path: Path, columns: str) -> None:
    run = make_run(tmp_path / "run", "collapsed")
    run.log.write_text("x" * 300 + "\n")
    told = once(str(run.path), "--once", PYTHONIOENCODING="ascii", COLUMNS=columns)
    assert told.returncode == 0, told.stderr
    assert told.stdout.isascii()
    assert "verdict collapsed" in told.stdout
    assert max(map(len, told.stdout.splitlines())) <= int(columns)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere", "--once"], "there is no nowhere"),
        ([".", "--once"], "holds no run"),
        ([".", "--once"], "Train one: glotune train RECIPE --out NAME"),
        ([".", "--once", "--web"], "one of them"),
        (["."], r"pip install 'glotune[monitor]'"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    told = once(*arguments)
    assert told.returncode == 2
    assert expected in told.stderr
    assert "Traceback" not in told.stderr
