"""The weights that a run ends with: those of its best evaluation, or a mean of several.

A mean of weights along one run, or over seeds of one recipe, lies in the same basin and is flatter than its members;
zero-shot transfer gains from it across tasks and languages (Schmidt et al. 2023, arXiv:2305.16834), and it asks for no
label of a target language: the validation texts that choose the checkpoint choose here too.
"""

from __future__ import annotations

import time

from glotune.engine.checkpoints import CheckpointStore, restore_mean, restore_weights
from glotune.engine.forward import evaluate
from glotune.engine.parts import Parts
from glotune.engine.recorder import Recorder
from glotune.engine.state import TrainingState
from glotune.run.records import Averaged


def restore_best(parts: Parts, state: TrainingState, checkpoints: CheckpointStore, recorder: Recorder) -> None:
    """Leaves in the network the best evaluation's weights, or the mean that the recipe asks for, and says which."""
    assert state.best_step is not None
    assert state.best_value is not None
    best, spec = checkpoints.best(state.best_step), parts.settings.average
    if spec is None or len(state.averaged) < 2:
        restore_weights(best, parts.trainable)
        if spec is not None:
            recorder.warn(
                f"average.last asks for a mean of {spec.last} evaluations, and there was only one: the run ends with"
                " its best checkpoint"
            )
        return
    started = time.perf_counter()
    restore_mean([checkpoints.best(step) for step in state.averaged], parts.trainable)
    value = validation_value(parts, recorder)
    members = [f"step {step}" for step in state.averaged]
    kept = spec.keep == "always" or at_least(parts, value, state.best_value)
    say_average(parts, recorder, members, value, state.best_value, kept=kept, seconds=time.perf_counter() - started)
    if not kept:
        restore_weights(best, parts.trainable)


def validation_value(parts: Parts, recorder: Recorder) -> float:
    """Of the weights as they are: what chooses the checkpoint."""
    return parts.task.judge(evaluate(parts, "validation", recorder)).value


def at_least(parts: Parts, value: float, other: float) -> bool:
    """Whether a value is no worse than another; a NaN is."""
    return value >= other if parts.task.choice.higher_is_better else value <= other


def say_average(
    parts: Parts,
    recorder: Recorder,
    members: list[str],
    value: float,
    best_value: float,
    *,
    kept: bool,
    seconds: float,
    left_out: list[str] | None = None,
) -> None:
    """Puts into log, events and manifest what was averaged and which weights the run ends with."""
    choice = parts.task.choice
    found = Averaged(
        members=members,
        left_out=left_out or [],
        metric=choice.metric,
        on=choice.on,
        value=value,
        best_value=best_value,
        kept=kept,
    )
    recorder.event("average", {**found.model_dump(), "wall": {"seconds": round(seconds, 6)}})
    if recorder.is_main:
        recorder.directory.update_manifest(averaged=found)
    ends = "the run ends with it" if kept else "the run ends with the best"
    recorder.log(
        f"mean over {', '.join(members)}: {choice.metric} {value:.4f} on {choice.on} validation, the best single"
        f" weights {best_value:.4f}; {ends}"
    )
