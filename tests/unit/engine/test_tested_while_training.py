"""Test texts that are scored while training: recorded, and without any effect on the run."""

from pathlib import Path

import pytest

from glotune.engine.observer import Silent
from glotune.evidence.judgement import training_history
from glotune.recipe import load_recipe, recipe_hash
from glotune.run.history import read_history
from glotune.verbs.train import Run, train
from small_runs import small_recipe


class Heard(Silent):
    """Keeps the lines that a run says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message)


HEARD = Heard()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("tested")
    recipe = small_recipe(folder)
    return {
        when: train(
            recipe,
            {"evaluate.test": when},
            out=folder / when,
            report=False,
            observer=HEARD if when == "never" else None,
        )
        for when in ("never", "last", "each")
    }


def steps_of(run: Run) -> list[int]:
    return [event.step for event in run.directory.events() if event.key == "test/es"]


def test_it_happens_when_the_recipe_says(runs: dict[str, Run]) -> None:
    assert {when: steps_of(run) for when, run in runs.items()} == {"never": [], "last": [8], "each": [4, 8]}


def test_the_verdict_is_left_to_the_summary_and_stands_in_the_log(runs: dict[str, Run]) -> None:
    assert not [line for line in HEARD.lines if "verdict" in line]
    assert runs["never"].directory.log.read_text().count("verdict: ") == 1


def test_few_steps_are_warned_of_before_the_first_and_end_as_no_sound_run(runs: dict[str, Run]) -> None:
    warning = next(number for number, line in enumerate(HEARD.lines) if "4 optimizer steps per epoch, 8 in all" in line)
    assert warning < next(number for number, line in enumerate(HEARD.lines) if line.startswith("plan: "))
    verdict = runs["never"].manifest.verdict
    assert verdict is not None
    assert verdict.status != "sound"
    assert any("only 8 optimizer steps" in sentence for sentence in verdict.evidence)


def test_it_changes_nothing(runs: dict[str, Run]) -> None:
    expected = runs["never"].directory.read_metrics()
    for run in runs.values():
        assert run.directory.read_metrics() == expected
        assert run.manifest.best_step == runs["never"].manifest.best_step
    assert len({run.manifest.recipe_hash for run in runs.values()}) == 1


def test_the_last_weights_score_as_the_final_test_where_they_were_kept(runs: dict[str, Run]) -> None:
    run = runs["last"]
    event = next(event for event in run.directory.events() if event.key == "test/es")
    if run.manifest.best_step == event.step:
        assert event.data["accuracy"] == run.directory.read_metrics()["test"]["es"]["accuracy"]
    else:
        assert run.manifest.best_step == 4


def test_the_verdict_looks_at_the_languages_that_choose_the_checkpoint(runs: dict[str, Run]) -> None:
    events = runs["never"].directory.events()
    other = [
        event.model_copy(update={"key": "validation/es", "data": {**event.data, "macro_f1": 0.0}})
        for event in events
        if event.key == "validation/en"
    ]
    assert (
        training_history(read_history(events + other), ["en"]).epochs
        == training_history(read_history(events), ["en"]).epochs
    )
    assert {point.metric for point in training_history(read_history(events + other), ["es"]).epochs} == {0.0}


def test_an_early_stop_is_a_last_evaluation_too(tmp_path: Path) -> None:
    recipe = load_recipe(
        small_recipe(tmp_path, evaluate__test="last", evaluate__patience=1, optimizer__learning_rate=1e-12),
        {"train.epochs": 5},
    )
    run = train(recipe, out=tmp_path / "run", report=False)
    assert steps_of(run) == [8]  # the second evaluation brought nothing new
    assert recipe_hash(recipe) == run.manifest.recipe_hash


def test_an_error_that_chooses_the_checkpoint_goes_the_way_of_a_loss(runs: dict[str, Run]) -> None:
    """Its largest value is not the best, and its rise is no gain."""
    changed = {"validation/en": {"rmse": 20.0}, "best": {"metric": "rmse"}}
    events = [
        event.model_copy(update={"data": event.data | changed.get(event.key or event.kind, {})})
        for event in runs["never"].directory.events()
    ]
    found = training_history(read_history(events), ["en"])
    assert found.metric == "rmse"
    assert found.epochs
    assert {point.metric for point in found.epochs} == {None}
