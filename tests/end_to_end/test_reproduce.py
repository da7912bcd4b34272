"""`glotune reproduce`: equal, or where not."""

from __future__ import annotations

from pathlib import Path

import pytest

from glotune.cli.main import run as glotune
from glotune.errors import UserError
from glotune.run.records import RunStatus
from glotune.verbs.average import average
from glotune.verbs.reproduce import reproduce
from glotune.verbs.train import train
from small_runs import small_recipe


def test_a_run_is_reproduced_from_its_directory_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = train(small_recipe(tmp_path), out=tmp_path / "first", command=[], report=False)
    before = {path: path.stat().st_mtime_ns for path in sorted(first.path.rglob("*"))}
    with pytest.raises(SystemExit) as exit_:
        glotune(["reproduce", str(first.path), "--out", str(tmp_path / "second")])
    assert exit_.value.code in (0, None), capsys.readouterr()
    assert capsys.readouterr().out.startswith("equal: weights, metrics, predictions and events")
    assert {path: path.stat().st_mtime_ns for path in sorted(first.path.rglob("*"))} == before


def test_an_encoder_in_a_folder_named_model_is_not_the_runs_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe(tmp_path, train__epochs=8, optimizer__learning_rate=5e-3)
    Path(recipe.model.name).rename(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    runs = [
        train(recipe, {"model.name": "model", "seed": seed}, out=f"runs/{seed}", command=[], report=False)
        for seed in (1, 2)
    ]
    assert reproduce(runs[0].path).is_equal
    assert average([run.path for run in runs], command=[], report=False).manifest.averaged is not None


def test_differences_are_told_with_their_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = train(small_recipe(tmp_path), out=tmp_path / "first", command=[], report=False)
    plan = first.manifest.plan
    assert plan is not None
    versions = {**first.manifest.versions, "torch": "1.0"}
    first.directory.update_manifest(versions=versions, plan=plan.model_copy(update={"token_budget": 64}))
    recipe = first.directory.recipe
    recipe.write_text(recipe.read_text().replace("learning_rate: 0.001", "learning_rate: 0.002"))
    with pytest.raises(SystemExit) as exit_:
        glotune(["reproduce", str(first.path), "--out", str(tmp_path / "second")])
    shown = capsys.readouterr()
    assert exit_.value.code == 1
    assert "versions: torch" in shown.err
    assert "different numbers" in shown.out
    assert "model/model.safetensors differ" in shown.out
    assert "test/es loss: " in shown.out
    assert "events part at line" in shown.out


def test_the_stored_plan_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(small_recipe(tmp_path), out=tmp_path / "first", command=[], report=False)
    monkeypatch.setattr("glotune.engine.plan.CPU_TOKENS", 64)  # another machine would plan otherwise
    found = reproduce(first.path, out=tmp_path / "second")
    assert found.run is not None
    assert found.run.manifest.plan == first.manifest.plan
    assert found.is_equal, found.numbers
    assert found.circumstances == []


def test_changed_data_are_named_and_nothing_is_run(tmp_path: Path) -> None:
    first = train(small_recipe(tmp_path), out=tmp_path / "first", command=[], report=False)
    file = tmp_path / "es.csv"
    file.write_text(file.read_text().replace(" 3,", " three,", 1))
    found = reproduce(first.path, out=tmp_path / "second")
    assert not found.is_equal
    assert found.run is None
    assert any("es.csv changed" in line for line in found.data)
    assert not (tmp_path / "second").exists()


def test_only_complete_runs_of_train_are_reproduced(tmp_path: Path) -> None:
    run = train(small_recipe(tmp_path), out=tmp_path / "first", command=[], report=False)
    run.directory.update_manifest(kind="pretrain")
    with pytest.raises(UserError, match="glotune pretrain"):
        reproduce(run.path)
    run.directory.update_manifest(kind="train", status=RunStatus.INTERRUPTED)
    with pytest.raises(UserError, match="glotune resume"):
        reproduce(run.path)
