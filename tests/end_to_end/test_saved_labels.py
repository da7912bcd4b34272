"""A run's label names meet the spellings of other files, and of runs that took over any spelling."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import glotune
from glotune.cli.main import run as glotune_command
from glotune.recipe import Recipe
from glotune.run.records import RunStatus
from glotune.verbs.calibrate import calibrate
from glotune.verbs.evaluate import evaluate
from glotune.verbs.lifecycle import Run
from glotune.verbs.resume import resume
from glotune.verbs.train import train
from small_runs import sentences, small_recipe, write_csv

NFC, NFD = "caf\u00e9", "cafe\u0301"


def relabelled(path: Path, name: str) -> None:
    """The label ``good`` of a file replaced by `name`."""
    path.write_text(path.read_text(encoding="utf-8").replace(",good", f",{name}"), encoding="utf-8")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("data")
    made = small_recipe(folder, train__epochs=1)
    for name, spelling in (("train.csv", NFD), ("dev.csv", NFC), ("es.csv", f"{NFC}\u200b")):
        relabelled(folder / name, spelling)
    return made


@pytest.fixture(scope="module")
def trained(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(recipe, out=tmp_path_factory.mktemp("trained") / "run", report=False)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose reader cut blanks off and left everything else of a label as it was."""
    folder = tmp_path_factory.mktemp("older")
    made = small_recipe(folder, train__epochs=1)
    for name in ("train.csv", "dev.csv", "es.csv"):
        relabelled(folder / name, NFD)
    with pytest.MonkeyPatch.context() as patch:
        strip: Callable[[str], str] = str.strip
        patch.setattr("glotune.data.coded_columns.name_of", strip)
        patch.setattr("glotune.data.label_names.name_of", strip)
        return train(made, out=folder / "run", report=False)


def test_spellings_make_one_class(trained: Run) -> None:
    assert trained.manifest.labels == ["bad", NFC, "plain"]
    assert glotune.load(trained.path).labels == ["bad", NFC, "plain"]
    assert glotune.load(trained.directory.model).labels == ["bad", NFC, "plain"]


@pytest.mark.parametrize("spelling", [NFC, NFD, f" {NFC}\ufeff"])
def test_new_texts_are_scored_in_any_spelling(trained: Run, older: Run, tmp_path: Path, spelling: str) -> None:
    rows = [{**row, "label": row["label"].replace("good", spelling)} for row in sentences("es", 30, 3)]
    for run in (trained, older):
        judged = evaluate(run.path, {"es": str(write_csv(tmp_path / "es.csv", rows))}, name=f"es{ord(spelling[-1])}")
        written = json.loads((judged.path / "evaluation.json").read_text(encoding="utf-8"))
        assert written["labels"] == run.manifest.labels
        assert judged.evaluations[0].n == 30


def test_an_older_run_is_scored_on_its_own_texts_calibrated_and_predicts(older: Run) -> None:
    assert older.manifest.labels == ["bad", NFD, "plain"]
    judged = evaluate(older.path, name="again")
    assert {each.split for each in judged.evaluations} == {"validation", "test"}
    assert calibrate(older.directory).n == 24
    prediction = glotune.load(older.path, calibrated=True).predict(["good lovely"])[0]
    assert list(prediction.probabilities) == ["bad", NFD, "plain"]


def test_an_older_run_goes_on(older: Run) -> None:
    before = {path.name: path.read_bytes() for path in older.directory.predictions.iterdir()}
    older.directory.update_manifest(status=RunStatus.INTERRUPTED)
    again = resume(older.path, report=False)
    assert again.manifest.status is RunStatus.COMPLETE
    assert again.manifest.labels == ["bad", NFD, "plain"]
    assert before == {path.name: path.read_bytes() for path in again.directory.predictions.iterdir()}


def test_quoting_of_new_texts(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{row['label']}\t{row['text']}".replace("good\t", f"{NFC}\t") for row in sentences("es", 12, 4)]
    lines[2], lines[4] = lines[2].replace("\t", '\t"'), lines[4] + '"'
    path = tmp_path / "es.tsv"
    path.write_text("label\ttext\n" + "\n".join(lines) + "\n", encoding="utf-8")

    def call(*arguments: str) -> tuple[str, str]:
        with pytest.raises(SystemExit) as ended:
            glotune_command(list(arguments))
        assert not ended.value.code
        return capsys.readouterr()

    out, err = call("predict", str(trained.path), str(path))
    assert len(out.splitlines()) == 10
    assert "a stray quote may have swallowed 2 rows" in err
    assert "set --quoting none" in err
    out, err = call("predict", str(trained.path), str(path), "--quoting", "none")
    assert len(out.splitlines()) == 12
    assert "stray" not in err
    assert evaluate(trained.path, {"es": str(path)}, name="swallowed").evaluations[0].n == 10
    call("evaluate", str(trained.path), f"es={path}", "--quoting", "none", "--name", "whole")
    rows = json.loads((trained.path / "evaluations/whole/evaluation.json").read_text(encoding="utf-8"))["rows"]
    assert rows == {"test": 12}
