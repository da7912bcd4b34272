"""The loop: batch → step → record → evaluate → checkpoint, from any step to the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from glotune.data.batches import Rows
from glotune.engine.accelerator import give_back
from glotune.engine.assembly import optimizer_of
from glotune.engine.average import restore_best
from glotune.engine.checkpoints import CheckpointStore, Resumption, restore_optimizer, restore_weights, snapshot
from glotune.engine.forward import evaluate
from glotune.engine.observer import Pruner
from glotune.engine.optimizer import LossScale, Schedule, allocate_moments
from glotune.engine.parts import Parts
from glotune.engine.plan import time_left
from glotune.engine.processes import ANOTHER_RANK, Control, StopNow, listening
from glotune.engine.recorder import Recorder
from glotune.engine.state import EpochSums, TrainingState
from glotune.engine.step import StepOutcome, Stepper, StepTime
from glotune.engine.watch import Watch
from glotune.errors import GlotuneError, InterruptedRun, RunError
from glotune.model.cpu.host_memory import give_back_freed_memory
from glotune.run.records import ON_REQUEST
from glotune.words import duration


class DivergedTraining(RunError):
    """A loss or gradient was not finite, and the recipe says to stop."""


class PrunedTraining(GlotuneError):
    """The run's pruner says that it is not worth going on with."""


@dataclass
class Loop:
    """One run's training, from wherever its state stands to the end."""

    parts: Parts
    stepper: Stepper
    state: TrainingState
    recorder: Recorder
    checkpoints: CheckpointStore
    control: Control
    pruner: Pruner | None = None
    _saved_step: int | None = field(default=None, init=False)
    """Of the checkpoint that this process saved last."""
    _epoch_time: StepTime = field(default_factory=StepTime, init=False)
    """Of the running epoch's steps, as far as this process made them."""
    _time: StepTime = field(default_factory=StepTime, init=False)
    _stops: bool = field(default=False, init=False)
    """Some rank was asked to stop before the last step was added up: all ranks know it, without asking each other."""

    def run(self) -> None:
        """Trains to the end, an early stop, or a request to stop.

        Raises:
            InterruptedRun: stopped on request, after a checkpoint.
            PrunedTraining: the pruner says so at the end of an epoch.
            RunError: a non-finite loss, where the recipe says to stop.
        """
        if self.state.evaluation_due:  # an earlier attempt was asked to stop in front of it
            self._finish_step()
        for step, rows, outcome in self.stepper.run(self._batches()):
            self.state.step, self.state.epoch = step + 1, (step + 1) / self.parts.steps_per_epoch
            self.recorder.at(self.state.step, self.state.epoch)
            self._stops = outcome.asked_to_stop
            self._take(rows, outcome)
            if self._ends_epoch:
                self._close_epoch()
            self.state.evaluation_due = self._evaluates_here()
            self._finish_step()
            if self.state.stopped_early:
                self._log_early_stop()
                break
        self.checkpoints.wait()
        self.recorder.flush()
        if self._time.seconds:
            share = self._time.wall()["wait_share"]
            self.recorder.log(f"trained in {duration(self._time.seconds)}, {share:.1%} of it waiting for data")

    def _finish_step(self) -> None:
        """Evaluates, checkpoints and stops on request, each where the step calls for it."""
        evaluates = self.state.evaluation_due
        if evaluates:
            try:
                self._evaluate()
            except StopNow:
                self._interrupt()
            self.state.evaluation_due = False
            self._leave_if_pruned()
        if self._checkpoints_here(evaluates):
            self._checkpoint()
        self.checkpoints.check()
        if self._stops or (self.parts.processes.ranks == 1 and self.control.stop_requested):
            self._interrupt()

    @property
    def _ends_epoch(self) -> bool:
        return self.state.step % self.parts.steps_per_epoch == 0

    def _batches(self) -> Iterator[tuple[int, Rows]]:
        """(step, rows) from the state's step on: the position in the epoch is a function of the step alone."""
        if self.state.stopped_early:
            return
        done, per_epoch = self.state.step, self.parts.steps_per_epoch
        for epoch in range(done // per_epoch, self.parts.settings.train.epochs):
            for number, rows in enumerate(self.parts.epoch(epoch)):
                step = epoch * per_epoch + number
                if step >= done:
                    yield step, rows

    def _take(self, rows: Rows, outcome: StepOutcome) -> None:
        """Records one step."""
        state = self.state
        self._note_deviations()
        for taken in (self._epoch_time, self._time):
            taken.add(outcome.seconds, outcome.wait_seconds)
        if outcome.overflowed:
            self.recorder.log(
                f"step {state.step}: gradients beyond fp16's range, no update; the loss is scaled by "
                f"{state.loss_scale:g} from here on"
            )
            return
        if not outcome.is_finite:
            self._refuse(rows, outcome)
            return
        state.epoch_sums.add(outcome.loss, outcome.texts, outcome.tokens, outcome.sums)
        self.recorder.event(
            "step",
            {
                "loss": outcome.loss,
                "learning_rate": outcome.learning_rate,
                "grad_norm": outcome.grad_norm,
                "texts": outcome.texts,
                "tokens": outcome.tokens,
                "wall": {"seconds": round(outcome.seconds, 6), "wait_seconds": round(outcome.wait_seconds, 6)},
            },
            flush=False,
        )
        if outcome.details is not None:
            self.recorder.event("objectives", dict(outcome.details), flush=False)
        self.recorder.flush_if_due()
        metrics = {"loss": outcome.loss, "tokens_per_second": outcome.tokens / max(outcome.seconds, 1e-9)}
        self.recorder.observer.progress("train", state.step, self.stepper.schedule.total_steps, metrics)

    def _refuse(self, rows: Rows, outcome: StepOutcome) -> None:
        """A non-finite step made no update; the recipe says whether training goes on."""
        source_rows = self.parts.stores["train"].rows[rows].tolist()
        texts = self.parts.task.excerpts(rows)
        message = (
            f"step {self.state.step}: loss {outcome.loss}, gradient norm {outcome.grad_norm}; no update was made. "
            f"First rows of its batch: {', '.join(map(str, source_rows[:10]))}"
        )
        self.recorder.event("alert", {"what": "nonfinite", "message": message, "rows": source_rows, "texts": texts})
        self.recorder.log(message)
        for row, text in zip(source_rows, texts, strict=False):
            self.recorder.log(f"  row {row} begins {text!r}")  # escaped: a text may hold control characters
        if self.parts.settings.train.on_nonfinite == "stop":
            self.recorder.flush()
            raise DivergedTraining(
                f"{message}. Lower optimizer.learning_rate, add warmup, or set train.on_nonfinite=skip"
            )

    def _note_deviations(self) -> None:
        for message in self.stepper.deviations:
            self.recorder.deviation(message)
        self.stepper.deviations.clear()
        self.state.token_budget = self.stepper.token_budget
        if self.stepper.loss_scale is not None:
            scale = self.stepper.loss_scale
            self.state.loss_scale, self.state.good_steps = scale.factor, scale.good_steps

    def _close_epoch(self) -> None:
        found = self.state.epoch_sums
        if found.texts:
            data = {
                "loss": found.loss_sum / found.texts,
                **self.parts.task.epoch_metrics(found.sums),
                "n": found.texts,
                "tokens": found.tokens,
                "wall": self._epoch_time.wall(),
            }
            self.recorder.event("epoch", data, key="train")
        self.state.epoch_sums = EpochSums()
        self._epoch_time = StepTime()

    def _evaluates_here(self) -> bool:
        every = self.parts.settings.evaluate_every
        is_last = self.state.step == self.stepper.schedule.total_steps
        return is_last or (self._ends_epoch if every == "epoch" else self.state.step % every == 0)

    @contextmanager
    def _may_be_left(self) -> Iterator[None]:
        """Within it a request to stop doesn't wait: an evaluation can be long, and is made again by the resume.

        Many ranks leave together or not at all: once they have begun an evaluation, they finish it.
        """
        if self.parts.processes.ranks > 1:
            if self._is_asked_to_stop():
                raise StopNow
            yield
        else:
            with self.control.leaving_at_once():
                yield

    def _evaluate(self) -> None:
        task, settings = self.parts.task, self.parts.settings
        with self._may_be_left():
            answers = evaluate(self.parts, "validation", self.recorder)
        found = task.judge(answers)
        for language, metrics in found.metrics.items():
            self.recorder.event("evaluation", dict(metrics), key=f"validation/{language}")
        is_new_best = self.state.enter(found.value, task.choice.higher_is_better, settings.patience)
        if is_new_best:
            best = {"metric": task.choice.metric, "value": found.value, "on": task.choice.on}
            self.recorder.event("best", best)
        if settings.average is not None and settings.average.last is not None:
            self.state.averaged = [*self.state.averaged, self.state.step][-settings.average.last :]
        if self.recorder.is_main and (is_new_best or self.state.averaged):
            self.checkpoints.save(snapshot(self.parts.trainable, None, self.state))
        is_best = " (best so far)" if self.state.best_step == self.state.step else ""
        self.recorder.log(
            f"epoch {self.recorder.epoch:.3g}/{settings.train.epochs}, step {self.state.step}: {found.summary}{is_best}"
        )
        if self._tests_here():
            self._test()
        total, on_collapse = self.stepper.schedule.total_steps, settings.train.on_collapse
        Watch(total, on_collapse).evaluated(self.state, found.alarm, self.recorder)

    def _leave_if_pruned(self) -> None:
        """Asks the pruner where an epoch ends and another one follows. No checkpoint is made of this step before: a run
        that is killed on its way out evaluates it again, and is asked again."""
        best, epoch = self.state.best_value, self.state.step // self.parts.steps_per_epoch
        is_over = self.state.step >= self.stepper.schedule.total_steps or self.state.stopped_early
        if self.pruner is None or best is None or is_over or not self._ends_epoch:
            return
        if self.parts.processes.any(self.recorder.is_main and not self.pruner.goes_on(epoch, best)):
            self.recorder.flush()
            raise PrunedTraining(f"pruned after epoch {epoch} of {self.parts.settings.train.epochs}")

    def _tests_here(self) -> bool:
        wanted = self.parts.settings.test
        is_last = self.state.step == self.stepper.schedule.total_steps or self.state.stopped_early
        return "test" in self.parts.stores and (wanted == "each" or (wanted == "last" and is_last))

    def _test(self) -> None:
        """Scores the test texts with the weights as they are. Nothing in training looks at the outcome."""
        answers = evaluate(self.parts, "test", self.recorder)
        for language, metrics in self.parts.task.scores("test", answers).items():
            self.recorder.event("evaluation", dict(metrics), key=f"test/{language}")

    def _log_early_stop(self) -> None:
        settings = self.parts.settings
        self.recorder.log(
            f"stopped early, at epoch {self.recorder.epoch:.3g}/{settings.train.epochs}: no evaluation better "
            f"than that of step {self.state.best_step} (evaluate.patience is {settings.patience})"
        )

    def _checkpoints_here(self, evaluated: bool) -> bool:
        every = self.parts.settings.checkpoints.every
        if self.state.step == self.stepper.schedule.total_steps or self.state.stopped_early:
            return True
        if every == "epoch":
            return self._ends_epoch
        return evaluated if every == "evaluation" else self.state.step % every == 0

    def _checkpoint(self, key: str = "") -> None:
        """Saves in the background; every rank holds the same weights, one writes."""
        self.recorder.flush()
        self._saved_step = self.state.step
        if self.recorder.is_main:
            taken = snapshot(self.parts.trainable, self.stepper.optimizer, self.state)
            waited = self.checkpoints.save(taken)
            self.recorder.event("checkpoint", {"name": taken.name, "wall": {"wait_seconds": round(waited, 6)}}, key)
        self.parts.processes.barrier()

    def _is_asked_to_stop(self) -> bool:
        return self.parts.processes.any(self.control.stop_requested)

    def _interrupt(self) -> None:
        if self._saved_step != self.state.step:
            self._checkpoint(ON_REQUEST)
        self.checkpoints.wait()
        raise InterruptedRun(f"{self.control.reason or ANOTHER_RANK}, after step {self.state.step}")


def train_to_the_end(
    parts: Parts,
    resumption: Resumption | None,
    recorder: Recorder,
    control: Control | None = None,
    pruner: Pruner | None = None,
) -> TrainingState:
    """Trains from the start or a checkpoint, and leaves the best weights in the network.

    Raises:
        InterruptedRun, RunError, CollapsedTraining, PrunedTraining: see `Loop`.
    """
    checkpoints = CheckpointStore(recorder.directory.checkpoints, parts.settings.checkpoints.keep)
    try:
        with listening(control or Control()) as listened:
            loop = build_loop(parts, resumption, recorder, checkpoints, listened)
            loop.pruner = pruner
            loop.run()
            parts.processes.barrier()
            if loop.state.best_step is not None:
                restore_best(parts, loop.state, checkpoints, recorder)
            parts.network.restore_frozen()  # what is recorded and saved from here on is the source's
            if parts.processes.any(listened.stop_requested):
                raise InterruptedRun(f"{listened.reason or ANOTHER_RANK}, after the last step")
            return loop.state
    except Exception:
        with suppress(RunError):  # the first error is the one to report
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
    give_back(parts.device)
    optimizer, row_decay = optimizer_of(parts)
    rate, epochs = settings.optimizer.learning_rate, settings.train.epochs
    schedule = Schedule(settings.schedule, rate, parts.steps_per_epoch, epochs)
    state = TrainingState(token_budget=parts.plan.token_budget)
    if resumption is not None:
        state = resumption.state
        restore_weights(resumption.folder, parts.trainable)
        restore_optimizer(resumption.folder, parts.trainable, optimizer)
        left = time_left(parts.plan, state.step, schedule.total_steps)
        recorder.log(f"resuming from {resumption.folder.name} (step {state.step} of {schedule.total_steps}{left})")
    allocate_moments(optimizer)
    if recorder.is_main:
        checkpoints.drop_after(state.step)
    parts.processes.barrier()
    stepper = Stepper(
        parts,
        optimizer,
        schedule,
        row_decay,
        state.token_budget,
        stop_requested=lambda: control.stop_requested,
        loss_scale=_loss_scale(parts, state),
    )
    return Loop(parts, stepper, state, recorder, checkpoints, control)


def _loss_scale(parts: Parts, state: TrainingState) -> LossScale | None:
    if parts.plan.precision != "fp16":
        return None
    return LossScale() if state.loss_scale is None else LossScale(state.loss_scale, state.good_steps)
