"""`glotune list` and what is said of a run that is complete already."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from glotune.cli.main import build_app
from glotune.errors import UserError
from glotune.report.analysis import mean_row
from glotune.run.data import load_run
from glotune.run.directory import RunDirectory
from made_runs import make_run


def test_runs_of_a_study_are_listed_and_a_mean_is_that_of_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "study/runs/two"):
        make_run(tmp_path / name)
    make_run(tmp_path / ".one.failed-1")
    shown = CliRunner().invoke(build_app(), ["list", "."]).stdout
    rows = [line.split() for line in shown.splitlines()[1:]]
    assert [row[0] for row in rows] == ["study/runs/two", "one"]
    run = load_run(RunDirectory.open(tmp_path / "one"))
    mean = mean_row(run, "test")
    assert mean is not None
    for row in rows:
        assert row[3:6] == ["3", "target", "languages"]
        assert float(row[6]) == pytest.approx(mean[1].scores["macro_f1"], abs=5e-5)


def test_nothing_is_to_be_done_for_a_complete_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    told = CliRunner().invoke(build_app(), ["resume", str(run.path)])
    assert "is complete: there is nothing to go on with" in told.output
    with pytest.raises(UserError, match=f"It is complete: see glotune report {run.path}"):
        RunDirectory.create(run.path, "name: r\n", run.read_manifest())
    unfinished = make_run(tmp_path / "unfinished", "running")
    with pytest.raises(UserError, match="Continue it with: glotune resume"):
        RunDirectory.create(unfinished.path, "name: r\n", run.read_manifest())
