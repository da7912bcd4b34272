"""Training from the newest whole checkpoint, or from the start, to the end."""

from __future__ import annotations

from contextlib import suppress

from glotune.engine.assembly import optimizer_of
from glotune.engine.checkpoints import CheckpointStore, Resumption, restore_optimizer, restore_weights
from glotune.engine.control import ANOTHER_RANK, Control, listening
from glotune.engine.loop import Loop
from glotune.engine.parts import Parts
from glotune.engine.recorder import Recorder
from glotune.engine.schedule import Schedule
from glotune.engine.state import TrainingState
from glotune.engine.step import Stepper
from glotune.errors import InterruptedRun, RunError
from glotune.model.cpu.host_memory import give_back_freed_memory


def train_to_the_end(
    parts: Parts,
    resumption: Resumption | None,
    recorder: Recorder,
    control: Control | None = None,
) -> TrainingState:
    """Trains from the start or a checkpoint, and leaves the best weights in the network.

    Raises:
        InterruptedRun, RunError, CollapsedTraining: see `Loop`.
    """
    checkpoints = CheckpointStore(recorder.directory.checkpoints, parts.settings.checkpoints.keep)
    try:
        with listening(control or Control()) as listened:
            loop = build_loop(parts, resumption, recorder, checkpoints, listened)
            loop.run()
            parts.processes.barrier()
            if loop.state.best_step is not None:
                restore_weights(checkpoints.best(loop.state.best_step), parts.trainable)
            if parts.processes.any(listened.stop_requested):
                raise InterruptedRun(f"{listened.reason or ANOTHER_RANK}, after the last step")
            return loop.state
    except Exception:
        with suppress(RunError):  # the first error is the one to tell
            checkpoints.wait()
        raise


def build_loop(
    parts: Parts,
    resumption: Resumption | None,
    recorder: Recorder,
    checkpoints: CheckpointStore,
    control: Control,
) -> Loop:
    """The loop, with weights, moments and state as the checkpoint left them."""
    settings = parts.settings
    give_back_freed_memory()  # the probe's
    optimizer, row_decay = optimizer_of(parts)
    rate, epochs = settings.optimizer.learning_rate, settings.train.epochs
    schedule = Schedule(settings.schedule, rate, parts.steps_per_epoch, epochs)
    state = TrainingState(token_budget=parts.plan.token_budget)
    if resumption is not None:
        state = resumption.state
        restore_weights(resumption.folder, parts.trainable)
        restore_optimizer(resumption.folder, parts.trainable, optimizer)
        recorder.log(f"resuming from {resumption.folder.name} (step {state.step} of {schedule.total_steps})")
    if recorder.is_main:
        checkpoints.drop_after(state.step)
    parts.processes.barrier()
    stepper = Stepper(parts, optimizer, schedule, row_decay, state.token_budget)
    return Loop(parts, stepper, state, recorder, checkpoints, control)
