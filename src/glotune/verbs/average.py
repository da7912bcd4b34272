"""One run from several finished ones: the mean of their weights, a soup (Wortsman et al. 2022, arXiv:2203.05482).

The runs are seeds, or other hyperparameters, of one recipe on the same texts: their weights began at the same encoder
and ended in one basin. The mean is judged as any run is, on the validation texts that choose checkpoints and then on
the test texts, and is a run directory like any other. Adapters are merged before: the mean of products is not the
product of the means.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from glotune.data.texts import TextData
from glotune.engine.average import at_least, say_average, validation_value
from glotune.engine.observer import Observer
from glotune.engine.parts import Parts
from glotune.engine.recorder import Recorder
from glotune.engine.state import TrainingState
from glotune.errors import UserError
from glotune.model.saving import from_own_units
from glotune.recipe import Recipe, load_recipe
from glotune.run.data import RunData, load_run
from glotune.run.directory import RunDirectory
from glotune.run.records import Manifest, RunStatus
from glotune.tasks.scores import ScoreReading
from glotune.tasks.targets import TargetTask
from glotune.verbs.lifecycle import Run

WEIGHTS = "model.safetensors"
ALIKE = ("model.name", "model.revision", "model.layers", "model.pooling", "data.max_length", "data.truncation",
         "data.windows", "data.normalization", "data.made_splits", "data.train_rows", "data.fraction", "task",
         "data.weighted_metrics", "evaluate.metric", "evaluate.on", "evaluate.threshold", "evaluate.tune_thresholds",
         )  # fmt: skip
"""Keys that runs must share for their mean to mean anything, and for their scores to say which is better; what else
differs is how they were trained."""

SPOILT = ("diverged", "collapsed")
"""Verdicts on weights that no mean is the better for. What showed no skill may show it together with others: the mean
gets a verdict of its own."""


@dataclass(frozen=True)
class Member:
    """A finished run that may enter a mean."""

    folder: Path
    value: float
    """Of the weights that it ended with, on the validation texts that chose them."""

    @property
    def weights(self) -> Path:
        """Merged, with the full vocabulary."""
        return self.folder / "model" / WEIGHTS


def average(
    runs: Sequence[str | Path],
    *,
    soup: str = "uniform",
    out: str | Path | None = None,
    observer: Observer | None = None,
    command: list[str] | None = None,
    report: bool = True,
) -> Run:
    """Makes a run whose model is the mean of the models of finished runs.

    Args:
        runs: two or more run directories of one encoder, the same labels and the same texts.
        soup: ``uniform``, the mean over all; ``greedy``, from the best on each that does not lower the validation
            score.
        out, observer, command, report: as for `glotune.train`.

    Raises:
        UserError: fewer than two runs, one twice, one that is not finished or that collapsed, runs of another encoder,
            other labels, other texts or tensors of other shapes.
    """
    from glotune.verbs.train import train

    first = RunDirectory.open(runs[0]) if runs else None
    if first is None or len({Path(each).resolve() for each in runs}) < max(2, len(runs)):
        raise UserError(
            f"{len(runs)} runs, {len({Path(each).resolve() for each in runs})} of them different",
            expected="two runs or more, each once",
        )
    first.require_trained()
    recipe = load_recipe(first.recipe)
    changes: dict[str, object] = {
        "name": f"{recipe.name}-soup",
        "model.lora": None,
        "distill": None,
        "data.augment": None,
        "loss.consistency": None,
        "speed.trim_vocabulary": False,
        "speed.prefix_cache": "off",
        "track": [],
        "average": {"runs": [str(Path(each).resolve()) for each in runs], "soup": soup},
    }
    return train(load_recipe(recipe, changes), out=out, observer=observer, command=command, report=report)


def open_members(recipe: Recipe, texts: TextData) -> list[Member]:
    """The runs that a recipe takes the mean over, looked at before anything is made of them.

    Raises:
        UserError: see `average`.
    """
    assert recipe.average is not None
    runs = [load_run(Path(each)) for each in recipe.average.runs or []]
    return [_open(run, runs[0].training_data, recipe, texts) for run in runs]


def _open(run: RunData, data: str, recipe: Recipe, texts: TextData) -> Member:
    folder = run.path
    manifest, own = run.manifest, run.recipe
    run.directory.require_trained("average.runs")
    _refuse_unfit(folder, manifest)
    run.directory.require_model()
    if own is None:
        raise UserError(f"the recipe of {folder} can't be read", expected="a run of this version of glotune")
    for key in ALIKE:
        mine, theirs = _value(recipe, key), _value(own, key)
        if mine != theirs:
            raise UserError(
                f"{key} of {folder} is {theirs}", where="average.runs", expected=f"{mine}, as of the other runs"
            )
    if manifest.labels != texts.labels:
        raise UserError(
            f"the labels of {folder} are {', '.join(manifest.labels)}",
            where="average.runs",
            expected=f"{', '.join(texts.labels)}, in this order",
        )
    # Rows that a recipe draws by its seed may differ, and all of them stay training rows; nothing else may.
    if run.training_data != data:
        raise UserError(
            f"{folder} was trained on other texts, or split them otherwise: validation here may be training there",
            where="average.runs",
            expected="runs on the same files, split alike",
        )
    if manifest.verdict is not None and manifest.verdict.status in SPOILT:
        raise UserError(
            f"{folder} {manifest.verdict.as_verb}: its weights would spoil the mean",
            where="average.runs",
            remedy="Leave it out",
        )
    value = run.history.value_of_end(manifest.averaged)
    if value is None:
        raise UserError(f"{folder} says no validation score of its weights", expected="a run of glotune train")
    return Member(folder, value)


def _refuse_unfit(folder: Path, manifest: Manifest) -> None:
    if manifest.status is not RunStatus.COMPLETE:
        raise UserError(
            f"{folder} is {manifest.status.value}",
            where="average.runs",
            expected="complete runs of glotune train",
            remedy=f"Finish it with: glotune resume {folder}",
        )


def _value(recipe: Recipe, key: str) -> object:
    found: object = recipe
    for part in key.split("."):
        found = getattr(found, part)
    return found


def end_with_soup(parts: Parts, recipe: Recipe, members: Sequence[Member], recorder: Recorder) -> TrainingState:
    """Puts the mean into the network, and says which runs are in it; no step is made.

    Raises:
        UserError: tensors of other names or shapes.
    """
    parts.network.restore_frozen()  # the mean is put into weights, judged and saved in the precision of the files
    assert recipe.average is not None
    started = time.perf_counter()
    higher = parts.task.choice.higher_is_better
    ranked = sorted(members, key=lambda each: each.value, reverse=higher)
    if recipe.average.soup == "uniform":
        taken, best_value = list(ranked), ranked[0].value
        put_mean(parts, taken)
        value = validation_value(parts, recorder)
    else:
        taken, value, best_value = _greedy(parts, ranked, recorder)
    if not at_least(parts, value, best_value):
        recorder.warn(
            f"the mean is worse on the validation texts than the best of its runs ({value:.4f}, and {best_value:.4f} "
            "alone): they may not lie in one basin. A greedy soup is never worse: --soup greedy"
        )
    say_average(
        parts,
        recorder,
        [str(each.folder) for each in taken],
        value,
        best_value,
        kept=True,
        seconds=time.perf_counter() - started,
        left_out=[str(each.folder) for each in ranked if each not in taken],
    )
    return TrainingState(token_budget=parts.plan.token_budget, best_value=value)


def _greedy(parts: Parts, ranked: Sequence[Member], recorder: Recorder) -> tuple[list[Member], float, float]:
    """The recipe of Wortsman et al. (algorithm 1): what lowers the held-out score is put back."""
    taken = [ranked[0]]
    put_mean(parts, taken)
    value = best_value = validation_value(parts, recorder)
    for each in ranked[1:]:
        put_mean(parts, [*taken, each])
        tried = validation_value(parts, recorder)
        if at_least(parts, tried, value):
            taken, value = [*taken, each], tried
    put_mean(parts, taken)
    return taken, value, best_value


@torch.no_grad()
def put_mean(parts: Parts, members: Sequence[Member]) -> None:
    """The mean of the members' models into the network; summed in fp64, one tensor at a time.

    Raises:
        UserError: a tensor that one of them lacks, or has in another shape.
    """
    state = parts.network.anatomy.core.state_dict(keep_vars=True)
    with safe_open(members[0].weights, "pt") as file:
        names = list(file.keys())
    for name in names:
        summed: torch.Tensor | None = None
        for member in members:
            with safe_open(member.weights, "pt") as file:  # for each tensor: what was read counts as memory until then
                tensor = file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118 - no mapping
            if tensor is None or name not in state or tensor.shape != state[name].shape:
                raise _other_shape(member, name, tensor, state.get(name))
            summed = tensor.double() if summed is None else summed + tensor.double()
        assert summed is not None
        state[name].copy_((summed / len(members)).to(state[name].dtype))
    if isinstance(parts.task, TargetTask) and isinstance(parts.task.reading, ScoreReading):
        # A saved model answers scores in their own units, whose mean this is; a network in training does not.
        from_own_units(parts.network.anatomy, parts.task.reading.decision)


def _other_shape(member: Member, name: str, found: torch.Tensor | None, wanted: torch.Tensor | None) -> UserError:
    has = "lacks" if found is None else f"has in the shape {list(found.shape)}"
    return UserError(
        f"the model of {member.folder} {has} the tensor {name}",
        where="average.runs",
        expected="no such tensor" if wanted is None else f"the shape {list(wanted.shape)}, as the other runs",
    )
