"""Where the search looks next, by Optuna: a function of what stands in the record, and in the space."""

from __future__ import annotations

import math
from typing import Any

import pytest

from glotune.recipe.search import Search
from glotune.recipe.space import Point, axes_of
from glotune.run.trials import SearchRecord, Trial
from glotune.study.halving import goes_on
from glotune.study.sampler import suggest

optuna = pytest.importorskip("optuna", reason="needs glotune[search]")
pytestmark = pytest.mark.extras

SEARCH = Search.model_validate(
    {
        "space": {
            "optimizer.learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
            "train.epochs": {"low": 2, "high": 6, "step": 2},
            "model.lora": [None, {"rank": 4}, {"rank": 8}],
        },
        "budget": {"runs": 12},
    }
)
AXES = axes_of(SEARCH)


def off(values: Point) -> float:
    """Orders of magnitude between the rate and 1e-4."""
    return abs(math.log10(values["optimizer.learning_rate"]) + 4)


def searched(count: int, search: Search = SEARCH, *, higher_is_better: bool = True) -> list[Trial]:
    """Trials that are worth the more the nearer their rate is to 1e-4, some of each kind of end among them."""
    trials: list[Trial] = []
    for number in range(count):
        values = suggest(search, AXES, trials, 0, higher_is_better=higher_is_better)
        worth = -off(values)
        made = Trial(number=number, values=values, state="complete", value=worth, epochs=4.0, verdict="sound")
        odd: dict[int, dict[str, Any]] = {
            3: {"state": "pruned", "epochs": 1.0},
            5: {"verdict": "collapsed"},
            7: {"state": "running", "value": None},
            9: {"state": "failed", "value": None, "reason": "its disk was full"},
            10: {"value": None},
        }
        trials.append(made.model_copy(update=odd.get(number, {})))
    return trials


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_next_trial_follows_from_the_record_and_lies_in_the_space(sampler: str) -> None:
    search = SEARCH.model_copy(update={"sampler": sampler})
    trials = searched(12, search)
    assert trials == searched(12, search)
    for trial in trials:
        assert all(axis.holds(trial.values[axis.key]) for axis in AXES)
        assert isinstance(trial.values["train.epochs"], int)
    assert len({trial.values["optimizer.learning_rate"] for trial in trials}) == 12
    again = suggest(search, AXES, trials[:6], 1, higher_is_better=True)
    assert again != trials[6].values, "another attempt is another point"
    other = suggest(search.model_copy(update={"seed": 5}), AXES, trials[:6], 0, higher_is_better=True)
    assert other != trials[6].values


def test_the_parzen_estimator_looks_where_trials_were_good() -> None:
    def distance(search: Search) -> float:
        late = searched(30, search)[15:]
        return sum(off(trial.values) for trial in late) / len(late)

    assert distance(SEARCH) < 0.8 * distance(SEARCH.model_copy(update={"sampler": "random"}))


def test_halving_decides_as_optuna_s_own_pruner() -> None:
    record = SearchRecord(
        content={}, recipe="", metric="macro_f1", on="source", higher_is_better=True, first_rung=1, factor=3
    )
    study = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    )
    values = [0.3, 0.1, 0.5, 0.5, 0.4, 0.6, 0.2, 0.55, 0.58, 0.7, 0.05, 0.61]
    for number, value in enumerate(values):
        trial = study.ask()
        trial.report(value, step=1)
        assert trial.should_prune() == (not goes_on(value, values[:number], record)), number
