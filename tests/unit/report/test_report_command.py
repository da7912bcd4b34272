import json

import pytest

from glotune.cli.main import run
from made_runs import make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        make_run(folder / f"seed-{seed}", "sound", seed=seed, epochs=1, n=60)
    make_run(folder / "better", "sound", name="better", languages={"en": 0.9, "bn": 0.9, "ar": 0.9, "hi": 0.9}, n=60)
    return folder


def call(*arguments):
    try:
        run([str(argument) for argument in arguments])
    except SystemExit as done:
        return done.code or 0
    return 0


def test_report_of_a_run_prints_where_it_lies(tmp_path, capsys):
    run = make_run(tmp_path / "running", "running", languages={"en": 0.8}, epochs=2)
    assert call("report", run.path) == 0
    assert capsys.readouterr().out.split() == [str(run.report / name) for name in ("report.md", "report.html")]


def test_report_of_a_folder_compares(folder, capsys):
    assert call("report", folder) == 0
    text = (folder / "report" / "report.md").read_text()
    assert "Difference to better" in text
    assert capsys.readouterr().out.split() == [str(folder / "report" / name) for name in ("report.md", "report.html")]


def test_a_folder_is_compared_in_the_language_that_is_asked_for(folder):
    assert call("report", folder, "--language", "bn", "--metric", "accuracy") == 0
    assert "Accuracy on test (bn)" in (folder / "report" / "report.md").read_text()


def test_options_that_change_nothing_are_refused(folder, capsys):
    assert call("report", folder / "better", "--metric", "accuracy") == 2
    assert "--metric accuracy: the report of one run tells all of its metrics" in capsys.readouterr().err


def test_report_of_nothing_is_the_users_mistake(tmp_path, capsys):
    assert call("report", tmp_path / "nowhere") == 2
    assert "there is no run at" in capsys.readouterr().err


def test_compare_prints_a_table_and_exports(folder, tmp_path, capsys):
    assert call("compare", folder, "--full", "--metric", "accuracy") == 0
    printed = capsys.readouterr().out
    assert "made-sound" in printed
    assert "reference" in printed
    for ending in ("md", "csv", "tex"):
        assert call("compare", folder, "--export", tmp_path / f"table.{ending}") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"table.md", "table.csv", "table.runs.csv", "table.tex"}


def test_compare_refuses_what_means_nothing(folder, tmp_path, capsys):
    other = make_run(tmp_path / "other", "sound", n=80, epochs=1)
    assert call("compare", folder / "better", other.path) == 2
    assert "invalid comparison" in capsys.readouterr().err
    assert call("compare", folder / "better", folder / "seed-0", "--export", tmp_path / "table.xlsx") == 2
    assert "ending in .md, .csv or .tex" in capsys.readouterr().err
    assert call("compare", folder / "better", tmp_path / "nowhere") == 2
    assert call("compare", folder / "better", folder / "seed-0", "--metric", "macro-f1") == 2
    assert "Did you mean 'macro_f1'" in capsys.readouterr().err


def test_a_pretraining_run_has_its_own_report_and_is_no_rival(folder, tmp_path, capsys):
    made = make_run(tmp_path / "pretrained", "sound", n=60, epochs=1)
    manifest = json.loads(made.manifest_path.read_text())
    made.manifest_path.write_text(json.dumps({**manifest, "kind": "pretrain", "verdict": None}))
    made.metrics_path.unlink()
    assert call("report", made.path) == 0
    assert capsys.readouterr().out.split() == [str(made.report / "report.md")]
    assert call("compare", folder / "seed-0", folder / "better", made.path) == 0
    assert "it is a pretraining run" in capsys.readouterr().err.replace("\n", " ")
