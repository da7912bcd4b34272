"""Where to look next: Optuna's samplers over what the trials so far were worth.

Optuna keeps nothing: its study is made anew for each trial from glotune's own record, with a seed of the trial's own.
So a search that was killed goes on as if it never was, and its folder can be read without Optuna.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from glotune.errors import MissingExtra
from glotune.recipe.search import Search
from glotune.recipe.space import Axis, Point
from glotune.run.trials import Trial

STARTUP = 10
"""Trials that are drawn at random before the Parzen estimator knows anything, at most; a third of a small budget."""


def require_optuna() -> None:
    """Raises MissingExtra where Optuna is not installed."""
    if find_spec("optuna") is None:
        raise MissingExtra("optuna", "search", "A search")


def suggest(
    search: Search, axes: Sequence[Axis], trials: Sequence[Trial], attempt: int, *, higher_is_better: bool
) -> Point:
    """The values of the next trial: a function of the search, of all trials so far and of `attempt`."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {axis.key: _distribution(axis) for axis in axes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Optuna calls experimental
        study = optuna.create_study(
            direction="maximize" if higher_is_better else "minimize",
            sampler=_sampler(search, _seed(search.seed, len(trials), attempt)),
        )
        study.add_trials([_known(trial, axes, distributions) for trial in trials])
        asked = study.ask(distributions).params
    return {axis.key: _value(axis, asked[axis.key]) for axis in axes}


def _sampler(search: Search, seed: int) -> Any:
    from optuna.samplers import RandomSampler, TPESampler

    if search.sampler == "random":
        return RandomSampler(seed=seed)
    startup = STARTUP if search.budget.runs is None else max(3, min(STARTUP, search.budget.runs // 3))
    return TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, constant_liar=True)


def _seed(seed: int, number: int, attempt: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {number} {attempt}".encode()).digest()[:4], "little")


def _distribution(axis: Axis) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.choices is not None:
        return CategoricalDistribution(tuple(range(len(axis.choices))))
    low, high, step, log = axis.dimension.low, axis.dimension.high, axis.dimension.step, axis.dimension.log
    if low is None or high is None:
        raise ValueError(f"{axis.key} has neither a range nor choices")
    if axis.is_integer:
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(low, high, log=log, step=step)


def _value(axis: Axis, asked: Any) -> Any:
    return axis.number(asked) if axis.choices is None else axis.choices[asked]


def _known(trial: Trial, axes: Sequence[Axis], distributions: dict[str, Any]) -> Any:
    """A trial as Optuna reads it. What diverged or learned nothing is told as left before its first epoch, the worst
    that Optuna knows; what a machine broke off, or what has no score, is told as failed, which says nothing."""
    from optuna.trial import TrialState, create_trial

    params = {axis.key: trial.values[axis.key] if axis.choices is None else axis.place(trial.values[axis.key])
              for axis in axes}  # fmt: skip
    state, value, steps = TrialState.FAIL, None, {}
    if trial.state == "running":
        state = TrialState.RUNNING
    elif trial.is_unsound:
        state = TrialState.PRUNED
    elif trial.state == "complete" and trial.value is not None:
        state, value = TrialState.COMPLETE, trial.value
    elif trial.state == "pruned" and trial.value is not None:
        state, steps = TrialState.PRUNED, {round(trial.epochs or 0): trial.value}
    return create_trial(state=state, value=value, params=params, distributions=distributions, intermediate_values=steps)
