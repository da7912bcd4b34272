"""C6 and C8: the same numbers again, uninterrupted or resumed from any step, bit for bit on CPU."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from glotune.engine.observer import Silent
from glotune.engine.processes import Control
from glotune.errors import InterruptedRun, UserError
from glotune.evidence.equality import differences
from glotune.recipe import Recipe
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from glotune.verbs.lifecycle import Run
from glotune.verbs.resume import resume
from glotune.verbs.train import train
from small_runs import small_recipe

KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"model__lora": {"rank": 4, "alpha": 8, "dropout": 0.1, "target_modules": ["query", "value", "dense"]}},
    "frozen": {"model__freeze": {"embeddings": True, "layers": 1}},
    "untrimmed": {"speed__trim_vocabulary": False},
    "methods": {
        "average": {"last": 3, "keep": "always"},
        "model__pooling": "mean",
        "adversarial": {"method": "pgd", "steps": 2},
        "loss__consistency": {"weight": 0.5, "views": ["subword"], "alpha": 0.02},
        "data__augment": {"subword": 0.02, "word_dropout": 0.1, "word_swap": 0.1},
    },
}


class Stopping(Silent):
    """Asks the run to stop after a number of steps, as a signal would."""

    def __init__(self, control: Control, after: int) -> None:
        self.control, self.after = control, after

    def progress(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if stage == "train" and done == self.after:
            self.control.stop("the test says so")


def interrupted(recipe: Recipe, out: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    control = Control()
    monkeypatch.setattr("glotune.engine.loop.Control", lambda: control)
    with pytest.raises(InterruptedRun):
        train(recipe, out=out, report=False, observer=Stopping(control, after), command=[])
    monkeypatch.undo()


def assert_equal_runs(one: Path, other: Path) -> None:
    assert (one / "model/model.safetensors").is_file()
    assert RunDirectory(one).prediction_files()
    assert differences(RunDirectory(one), RunDirectory(other)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_run_resumes_to_the_same_bits(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe(tmp_path, checkpoints__every=3, evaluate__every=2, **KINDS[kind])
    train(recipe, out=tmp_path / "whole", report=False, command=[])
    interrupted(recipe, tmp_path / "parts", 5, monkeypatch)
    assert RunDirectory(tmp_path / "parts").read_manifest().status is RunStatus.INTERRUPTED
    run = resume(tmp_path / "parts", report=False)
    assert run.manifest.status is RunStatus.COMPLETE
    assert run.manifest.attempt == 2
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


def test_the_same_recipe_gives_the_same_bits(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    runs = [train(recipe, out=tmp_path / name, report=False, command=[]) for name in ("one", "two")]
    assert_equal_runs(runs[0].path, runs[1].path)
    other = train(recipe, {"seed": 1}, out=tmp_path / "three", report=False, command=[])
    assert other.metrics != runs[0].metrics
    assert len(differences(runs[0].directory, other.directory)) >= 4, "the comparison can fail"


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    whole = train(recipe, out=tmp_path / "whole", report=False, command=[])
    killed = train(recipe, out=tmp_path / "killed", report=False, command=[])
    # What kill -9 in the second step leaves: no checkpoint, a torn event line, status running, a stale lock.
    for path in sorted(killed.directory.checkpoints.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    killed.directory.update_manifest(status=RunStatus.RUNNING)
    lines = killed.directory.events_path.read_bytes().splitlines(keepends=True)
    killed.directory.events_path.write_bytes(b"".join(lines[:6]) + lines[6][:20])
    resume(killed.path, report=False)
    assert_equal_runs(whole.path, killed.path)


def test_a_complete_run_is_left_alone_and_changed_data_refuses_the_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe(tmp_path)
    run = train(recipe, out=tmp_path / "run", report=False, command=[])
    before = run.directory.events_path.read_bytes()
    assert isinstance(resume(run.path), Run)
    assert run.directory.events_path.read_bytes() == before

    interrupted(recipe, tmp_path / "stopped", 2, monkeypatch)
    train_file = tmp_path / "train.csv"
    train_file.write_text(train_file.read_text().replace("0,bad", "0!,bad", 1))
    with pytest.raises(UserError, match=r"train\.csv"):
        resume(tmp_path / "stopped")


def test_the_state_survives_json_bit_for_bit(tmp_path: Path) -> None:
    run = train(small_recipe(tmp_path), out=tmp_path / "run", report=False, command=[])
    state = json.loads((run.directory.checkpoints / "step-00000008" / "state.json").read_text())
    best = [event for event in run.directory.events() if event.kind == "best"][-1]
    assert state["best_value"] == best.data["value"]
