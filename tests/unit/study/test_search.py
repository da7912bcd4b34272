"""The search of a study, without Optuna and torch: every mistake named before the first trial, trials planned, pruned,
booked and gone on with, the winner chosen among the sound ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from glotune.errors import UserError
from glotune.recipe import load_recipe, yaml
from glotune.recipe.search import Search
from glotune.recipe.space import Axis, Point, axes_of, own_point
from glotune.recipe.study_loading import ResolvedStudy, load_study, load_written, resolve_study, with_winner
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from glotune.run.state import find_runs
from glotune.run.trials import SearchRecord, Trial, best_of, read_trials
from glotune.study.directory import StudyDirectory
from glotune.study.halving import Halving, goes_on, is_rung
from glotune.study.locked_plan import content_of
from glotune.study.search import Trials
from made_runs import make_run
from small_runs import sentences, write_csv

RATE = {"low": 1e-5, "high": 1e-3, "log": True}


def written(folder: Path, search: dict[str, Any], **content: Any) -> Path:
    train = write_csv(folder / "en.csv", sentences("en", 30))
    recipe = {"model": {"name": "folder"}, "data": {"train": {"en": str(train)}, "test": {"en": str(train)}}}
    path = folder / "made.yaml"
    path.write_text(yaml.dump({"name": "made", "recipe": recipe, "search": search, **content}))
    return path


def resolved(folder: Path, space: dict[str, Any], runs: int = 4, **content: Any) -> ResolvedStudy:
    search = {"space": space, "budget": {"runs": runs}, **content.pop("search", {})}
    return resolve_study(load_study(written(folder, search, **content)))


# ---- what is written ----------------------------------------------------------------------------------


def test_a_search_is_a_study_of_the_plain_recipe_and_the_winner(tmp_path: Path) -> None:
    study = resolved(tmp_path, {"optimizer.learning_rate": RATE, "model.freeze": [{"embeddings": True}, {}]})
    assert list(study.variants) == ["plain"]
    (claim,) = study.study.claims
    assert (claim.form, claim.variants) == ("superior", ["winner", "plain"])
    assert "search" in content_of(study)
    found = with_winner(study, {"optimizer.learning_rate": 3e-4, "model.freeze": {"embeddings": True}})
    assert list(found.variants) == ["plain", "winner"]
    assert found.variants["winner"].optimizer.learning_rate == 3e-4
    assert found.variants["winner"].model.freeze.embeddings
    assert found.variants["plain"].optimizer.learning_rate == 2e-5
    assert content_of(found) == content_of(study), "what the search finds amends no plan"


def test_it_is_gone_on_with_by_what_was_written_down(tmp_path: Path) -> None:
    study = resolved(tmp_path, {"optimizer.learning_rate": RATE, "train.epochs": {"low": 2, "high": 5}})
    directory = StudyDirectory(tmp_path / "study")
    directory.create()
    directory.write_study({"scale": study.scale, **study.study.model_dump()})
    again = load_written(directory.study)
    assert content_of(again) == content_of(study)
    assert again.variants == study.variants


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"optimizer.learning_rat": RATE}, "Did you mean 'optimizer.learning_rate'"),
        ({"optimizer.learning_rate": {"low": 1e-5, "high": 2.0}}, "found 2.0, expected a number of at most 1"),
        ({"model.freeze.layers": [0, -1], "model.freeze.embeddings": [True, True]}, "at least 0"),
        ({"optimizer.learning_rate": {"low": 1e-4, "high": 1e-4}}, "a space of one point"),
        ({"optimizer.learning_rate": [1e-4]}, "a space of one point"),
        ({"optimizer.learning_rate": {"low": 1e-3, "high": 1e-4}}, "an empty space"),
        ({"optimizer.learning_rate": {"low": 0, "high": 1e-4, "log": True}}, "log needs low above 0"),
        ({"optimizer.learning_rate": {"low": 1e-5}}, "give low and high, or choices"),
        ({"train.epochs": {"low": 1.5, "high": 4}}, "1.5 for a key of whole numbers"),
        ({"schedule.name": {"low": 1, "high": 4}}, "takes no numbers"),
        ({"evaluate.metric": ["accuracy", "mcc"]}, "can't be searched"),
        ({"data": [{"max_length": 32}, {"max_length": 64}]}, "can't be searched"),
        ({"seed": {"low": 0, "high": 9}}, "can't be searched"),
        ({"model.freeze.layers": [0, 6]}, "needs freeze.embeddings: true"),
        ({"model.freeze.layers": [0, 6], "model.freeze.embeddings": [False, True]}, "joined in one"),
    ],
)
def test_a_mistake_in_the_space_is_named_before_the_first_trial(
    tmp_path: Path, space: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        resolved(tmp_path, space)


@pytest.mark.parametrize(
    ("search", "content", "told"),
    [
        ({"budget": {}}, {}, "the budget has no end: give runs"),
        ({"budget": None}, {}, "search.budget"),
        ({}, {"variants": {"a": {}, "b": {}}}, "no variants or grid beside it"),
        ({}, {"grid": {"train.epochs": [1, 2]}}, "no variants or grid beside it"),
        ({}, {"folds": 3}, "no folds beside it"),
        ({"seed": 1}, {}, "seeds that the search never used"),
        ({}, {"seeds": [0, 1000]}, "seeds that the search never used"),
        ({}, {"keys": {"evaluate.on": "target"}}, "search.on: target, an oracle"),
        ({"sampler": "tpr"}, {}, "did you mean 'tpe'"),
    ],
)
def test_a_mistake_beside_the_space_is_named_too(
    tmp_path: Path, search: dict[str, Any], content: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        resolved(tmp_path, {"optimizer.learning_rate": RATE}, search=search, **content)


def test_a_missing_budget_says_what_one_looks_like(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"search.budget: missing; give it as budget: \{runs: 20\}"):
        load_study(written(tmp_path, {"space": {"optimizer.learning_rate": RATE}}))


def test_an_oracle_chooses_the_checkpoints_of_all_runs(tmp_path: Path) -> None:
    study = resolved(tmp_path, {"optimizer.learning_rate": RATE}, search={"on": "target"})
    assert study.variants["plain"].evaluate.on == "target"


def test_a_scale_has_a_budget_of_its_own(tmp_path: Path) -> None:
    search = {"space": {"optimizer.learning_rate": RATE}, "budget": {"runs": 40}}
    study = load_study(written(tmp_path, search, scales={"tiny": {"budget": {"runs": 3}}}))
    found = resolve_study(study, "tiny").study.search
    assert found is not None
    assert found.budget.runs == 3


# ---- the space ----------------------------------------------------------------------------------------


def test_values_are_of_the_key_s_type_and_the_recipe_s_own_point_is_found() -> None:
    search = Search.model_validate(
        {
            "space": {
                "optimizer.learning_rate": RATE,
                "train.epochs": {"low": 1, "high": 9, "step": 2},
                "model.lora": [None, {"rank": 4}],
            },
            "budget": {"runs": 3},
        }
    )
    axes = axes_of(search)
    assert [axis.is_integer for axis in axes] == [False, True, False]
    assert axes[1].ends == [1, 9]
    recipe = load_recipe("e5", {"data.train": "en.csv", "train.epochs": 3})

    def own(**changed: Any) -> Point | None:
        return own_point(load_recipe(recipe, changed).model_dump(mode="json"), axes, search)

    assert own() == {"optimizer.learning_rate": 1e-4, "train.epochs": 3, "model.lora": None}
    lora = own(model__lora={"rank": 4})
    assert lora is not None
    assert lora["model.lora"] == {"rank": 4}, "a part of the section stands for it, with its defaults"
    assert own(model__lora={"rank": 4, "dropout": 0.1}) is None
    assert own(train__epochs=4) is None, "no whole number of steps from low"
    assert own(optimizer__learning_rate=1e-6) is None


# ---- halving ------------------------------------------------------------------------------------------


def record(**changed: Any) -> SearchRecord:
    made = {"content": {"seed": 1000}, "recipe": "", "metric": "macro_f1", "on": "source", "higher_is_better": True}
    return SearchRecord.model_validate({**made, "first_rung": 1, "factor": 3, **changed})


def test_trials_are_compared_after_epochs_1_3_9() -> None:
    assert [epoch for epoch in range(1, 30) if is_rung(epoch, record())] == [1, 3, 9, 27]
    assert not any(is_rung(epoch, record(first_rung=None)) for epoch in range(1, 30))


def test_the_best_third_goes_on_and_the_best_so_far_always() -> None:
    assert goes_on(0.1, [], record()), "nothing to be held against"
    assert not goes_on(0.1, [0.2], record())
    assert goes_on(0.3, [0.2], record())
    others = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert [value for value in (0.35, 0.45, 0.55) if goes_on(value, others, record())] == [0.45, 0.55]
    assert goes_on(0.05, others, record(higher_is_better=False))
    assert not goes_on(float("nan"), [], record())


def test_what_was_decided_once_is_not_decided_again(tmp_path: Path) -> None:
    first, second = (Halving(tmp_path, name, record()) for name in ("trial-0000", "trial-0001"))
    assert first.goes_on(1, 0.2)
    assert not second.goes_on(1, 0.1)
    assert second.goes_on(2, 0.1), "no rung"
    assert Halving(tmp_path, "trial-0002", record()).goes_on(1, 0.9)
    assert first.goes_on(1, 0.2), "a resumed trial hears what it heard before"
    assert not second.goes_on(1, 0.1)


# ---- trials -------------------------------------------------------------------------------------------


def drawn(search: Search, axes: Sequence[Axis], trials: Sequence[Trial], attempt: int, higher: bool) -> Point:
    rng = random.Random(f"{search.seed} {[trial.value for trial in trials]} {attempt}")
    return {
        axis.key: rng.choice(axis.choices) if axis.choices else axis.number(rng.uniform(*axis.ends)) for axis in axes
    }


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def trials_of(folder: Path, space: dict[str, Any] | None = None, clock: Clock | None = None, **search: Any) -> Trials:
    study = resolved(folder, space or {"optimizer.learning_rate": RATE}, search=search)
    place = StudyDirectory(folder / "study" / "search")
    for each in (place.recipes, place.runs, place.logs):
        each.mkdir(parents=True, exist_ok=True)
    return Trials(study, record(), place, drawn, clock or Clock())


def end(trials: Trials, kind: Any, **changed: Any) -> str:
    """The next trial as a run that ended so."""
    run = trials.next()
    assert run is not None
    made = make_run(
        trials.place.runs / run.name, kind, name=run.name, epochs=1, n=12, languages={"en": 0.8}, seed=run.seed
    )
    if changed:
        made.update_manifest(**changed)
    return trials.ended(run, changed.get("reason"))


def test_the_recipe_s_own_values_are_tried_first_and_no_trial_reads_a_test_text(tmp_path: Path) -> None:
    trials = trials_of(tmp_path)
    run = trials.next()
    assert run is not None
    assert trials.all[0].is_plain
    assert run.recipe.optimizer.learning_rate == 2e-5
    assert run.recipe.data.hide_test
    assert run.recipe.seed == 1000
    assert not run.recipe.evaluate.baselines
    assert load_recipe(trials.place.recipes / "trial-0000.yaml") == run.recipe
    second = trials.next()
    assert second is not None
    assert second.recipe.optimizer.learning_rate != 2e-5


def test_pruned_collapsed_and_failed_trials_are_booked_and_never_win(tmp_path: Path) -> None:
    trials = trials_of(tmp_path, budget={"runs": 5})
    assert "sound" in end(trials, "sound")
    assert "collapsed" in end(trials, "collapsed")
    assert "pruned" in end(trials, "sound", status=RunStatus.PRUNED, verdict=None)
    assert "DivergedTraining: nan" in end(trials, "diverged", status=RunStatus.FAILED, reason="DivergedTraining: nan")
    assert "failed" in end(trials, "sound", status=RunStatus.FAILED, reason="its disk was full")
    assert trials.next() is None
    assert "budget of 5 trials" in trials.why_no_more
    kept = read_trials(trials.place.path)
    assert [trial.outcome for trial in kept] == ["complete", "collapsed", "pruned", "diverged", "failed"]
    assert kept == trials.all
    best = best_of(kept, higher_is_better=True)
    assert best is not None
    assert best.number == 0
    assert best_of(kept[1:], higher_is_better=True) is None
    assert not any((trials.place.runs / trial.name / "checkpoints").exists() for trial in kept), "weights are not kept"


def test_a_trial_without_a_score_never_wins_and_is_named(tmp_path: Path) -> None:
    trials = trials_of(tmp_path)
    run = trials.next()
    assert run is not None
    made = make_run(trials.place.runs / run.name, "sound", name=run.name, epochs=1, n=12, languages={"en": 0.8})
    kept = [line for line in made.events_path.read_text().splitlines(True) if '"best"' not in line]
    made.events_path.write_text("".join(kept))
    assert trials.ended(run, None) == "no score on source validation, sound"
    assert best_of(trials.all, higher_is_better=True) is None
    assert [trial.outcome for trial in trials.all] == ["without a score"]


def test_a_search_that_was_cut_off_plans_the_same_trials(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = trials_of(tmp_path / "whole")
    for _ in range(4):
        end(whole, "sound")
    for number in range(4):  # killed after each trial, once in the middle of one
        cut = trials_of(tmp_path / "cut")
        assert len(cut.all) == number
        if number == 2:
            cut.next()
            (lost,) = trials_of(tmp_path / "cut").under_way
            run = cut.run(lost)
            make_run(
                cut.place.runs / run.name, "sound", name=run.name, epochs=1, n=12, languages={"en": 0.8}, seed=run.seed
            )
            cut.ended(run, None)
        else:
            end(cut, "sound")
    assert [trial.values for trial in read_trials(cut.place.path)] == [trial.values for trial in whole.all]


def test_the_search_ends_where_no_point_is_left_or_the_minutes_are_over(tmp_path: Path) -> None:
    trials = trials_of(tmp_path, {"train.batch_size": [16, 32]}, budget={"runs": 9})
    end(trials, "sound")
    end(trials, "sound")
    assert trials.next() is None
    assert "no point that was not tried" in trials.why_no_more
    (tmp_path / "timed").mkdir()
    clock = Clock()
    timed = trials_of(tmp_path / "timed", clock=clock, budget={"minutes": 2})
    clock.now = 90.0
    end(timed, "sound")
    again = trials_of(tmp_path / "timed", clock=Clock(), budget={"minutes": 2})
    assert again.elapsed == 90.0, "minutes count over all sessions"
    clock.now = 121.0
    assert timed.next() is None
    assert "2 minutes" in timed.why_no_more


def test_a_mistake_that_every_trial_makes_ends_the_search(tmp_path: Path) -> None:
    trials = trials_of(tmp_path, budget={"runs": 50})
    for _ in range(3):
        run = trials.next()
        assert run is not None
        trials.ended(run, "no such module")
    assert trials.next() is None
    assert "first 3 trials failed" in trials.why_no_more


def test_trials_are_no_evidence_unless_asked_for(tmp_path: Path) -> None:
    trials = trials_of(tmp_path, budget={"runs": 5})
    end(trials, "sound")
    study = tmp_path / "study"
    fresh = make_run(study / "runs" / "plain-seed0", "sound", name="plain", epochs=1, n=12, languages={"en": 0.8})
    assert [run.path for run in find_runs(study)] == [fresh.path]
    assert len(find_runs(study, trials=True)) == 2
    assert isinstance(find_runs(study / "search")[0], RunDirectory)
