"""Test texts that are scored while training: recorded, and without any effect on the run."""

from pathlib import Path

import pytest

from glotune.recipe import load_recipe, recipe_hash
from glotune.run import Run, train
from glotune.training.closing import history_of
from small_runs import small_recipe


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("tested")
    recipe = small_recipe(folder)
    return {
        when: train(recipe, {"evaluate.test": when}, out=folder / when, report=False)
        for when in ("never", "last", "each")
    }


def steps_of(run: Run) -> list[int]:
    return [event.step for event in run.directory.events() if event.key == "test/es"]


def test_it_happens_when_the_recipe_says(runs: dict[str, Run]) -> None:
    assert {when: steps_of(run) for when, run in runs.items()} == {"never": [], "last": [8], "each": [4, 8]}


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
    assert history_of(events + other, ["en"]).epochs == history_of(events, ["en"]).epochs
    assert {point.metric for point in history_of(events + other, ["es"]).epochs} == {0.0}


def test_an_early_stop_is_a_last_evaluation_too(tmp_path: Path) -> None:
    recipe = load_recipe(
        small_recipe(tmp_path, evaluate__test="last", evaluate__patience=1, optimizer__learning_rate=1e-12),
        {"train.epochs": 5},
    )
    run = train(recipe, out=tmp_path / "run", report=False)
    assert steps_of(run) == [8]  # the second evaluation brought nothing new
    assert recipe_hash(recipe) == run.manifest.recipe_hash
