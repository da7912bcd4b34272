from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from glotune.cli.main import build_app
from glotune.cli.results import show_run, transfer_gap
from glotune.run.directory import RunDirectory, now
from glotune.run.lock import locked
from glotune.run.records import Evaluation, Interval, Manifest, RunStatus, Verdict


def manifest(**changes: object) -> Manifest:
    content = {
        "name": "demo",
        "status": RunStatus.COMPLETE,
        "created": now(),
        "updated": now(),
        "seed": 0,
        "recipe_hash": "x",
        "command": ["glotune"],
        "labels": ["no", "yes"],
        "source_languages": ["en"],
        "verdict": Verdict(status="sound", evidence=["All is well."]),
        **changes,
    }
    return Manifest.model_validate(content)


def evaluation(language: str, macro_f1: float | None) -> Evaluation:
    return Evaluation(
        split="test",
        language=language,
        n=100,
        scores={"accuracy": 0.5, "macro_f1": macro_f1},
        intervals={"accuracy": Interval(low=0.4, high=0.6)},
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory.create(tmp_path / "runs" / "demo", "name: demo\n", manifest())
    run.write_metrics([evaluation("bn", 0.40), evaluation("en", 0.60), evaluation("ar", None)])
    return run


def test_the_table_has_a_row_per_language_sources_first(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    show_run(run.path)
    shown = capsys.readouterr().out
    rows = [line for line in shown.splitlines() if line.startswith(("en", "ar", "bn"))]
    assert [row.split()[0] for row in rows] == ["en", "ar", "bn"]
    assert "(source)" in rows[0]
    assert "0.6000" in rows[0]
    assert "[0.4000, 0.6000]" in rows[0]
    assert "Transfer gap: 20.0 points of macro F1 (mean of en minus mean of 1 target language)" in shown
    assert "Verdict: sound\n  - All is well." in shown
    assert str(run.metrics_path) in shown


def test_a_run_tested_on_targets_alone_says_which_key_gives_the_gap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory.create(tmp_path / "run", "name: demo\n", manifest())
    run.write_metrics([evaluation("bn", 0.40)])
    show_run(run.path)
    assert "Transfer gap: unknown, no test texts are in en (data.test.en=FILE names some" in capsys.readouterr().out


def test_the_mean_of_the_targets_stands_below_the_languages_as_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from glotune.report.content import gather
    from glotune.report.scores import with_interval
    from glotune.run.data import load_run
    from made_runs import make_run

    run = make_run(tmp_path / "run", n=60, epochs=1)
    show_run(run.path)
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("mean (3 targets)"))
    name, mean = gather(load_run(run)).means["test"]
    interval = mean.intervals["macro_f1"]
    assert f"{mean.scores['macro_f1']:.4f}  [{interval.low:.4f}, {interval.high:.4f}]" in row
    assert row.split()[3] == f"{mean.n}"
    assert name == "Mean of the 3 target languages"
    assert with_interval(mean, "macro_f1") in gather(load_run(run)).headline


def test_no_gap_without_targets(run: RunDirectory) -> None:
    assert transfer_gap({"en": {"macro_f1": 0.5}}, run.read_manifest()) is None
    assert transfer_gap({"en": {"macro_f1": 0.5}, "bn": {"macro_f1": 0.25}}, run.read_manifest()) is not None


def test_list_tells_a_crashed_run_from_a_running_one(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.path.parent)  # whose name has both words
    run.update_manifest(status=RunStatus.RUNNING)
    listed = CliRunner().invoke(build_app("list"), ["list", "."], catch_exceptions=False)
    assert "crashed" in listed.stdout, "nobody holds its lock"
    with locked(run.lock):
        listed = CliRunner().invoke(build_app("list"), ["list", "."], catch_exceptions=False)
    assert "running" in listed.stdout
    assert "crashed" not in listed.stdout


def test_list_shows_runs_and_names_unreadable_ones(run: RunDirectory) -> None:
    broken = run.path.parent / "broken"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    result = CliRunner().invoke(build_app(), ["list", str(run.path.parent)], catch_exceptions=False)
    assert result.exit_code == 0
    assert re.search(r"bn +0\.4000", result.stdout), "the target language alone, as in the report"
    assert "Not listed" in result.stderr
    assert "broken" in result.stderr
