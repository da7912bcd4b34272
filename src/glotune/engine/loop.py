"""The loop: batch → step → record → evaluate → checkpoint, resumable at any step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from glotune.data.batches import Rows, effective_batches, epoch_order
from glotune.engine.checkpoints import CheckpointStore, snapshot
from glotune.engine.control import ANOTHER_RANK, Control, StopNow
from glotune.engine.evaluate import by_language, evaluate_split
from glotune.engine.parts import Parts
from glotune.engine.plan_text import duration
from glotune.engine.recorder import Recorder
from glotune.engine.scoring import language_scores
from glotune.engine.selection import monitored_languages, monitored_value, update_best
from glotune.engine.state import EpochFigures, TrainingState
from glotune.engine.step import StepOutcome, Stepper, StepTime
from glotune.engine.watch import Watch
from glotune.errors import InterruptedRun, RunError
from glotune.run.records import ON_REQUEST
from glotune.stats.confusion import count_metric
from glotune.stats.scores import Scores

EXCERPT = 120
"""Characters of a text that a diagnosis shows."""


class DivergedTraining(RunError):
    """A loss or gradient was not finite, and the recipe says to stop."""


@dataclass
class Loop:
    """One run's training, from wherever its state stands to the end."""

    parts: Parts
    stepper: Stepper
    state: TrainingState
    recorder: Recorder
    checkpoints: CheckpointStore
    control: Control
    watch: Watch
    _saved_step: int | None = field(default=None, init=False)
    """Of the checkpoint that this process saved last."""
    _epoch_time: StepTime = field(default_factory=StepTime, init=False)
    """Of the running epoch's steps, as far as this process made them."""
    _time: StepTime = field(default_factory=StepTime, init=False)

    def __post_init__(self) -> None:
        recipe = self.parts.recipe
        validated = list(by_language(self.parts, "validation"))
        self._monitored = monitored_languages(recipe.evaluate.on, self.parts.source_languages, validated)

    @property
    def steps_per_epoch(self) -> int:
        return self.stepper.schedule.steps_per_epoch

    def run(self) -> None:
        """Trains to the end, an early stop, or a request to stop.

        Raises:
            InterruptedRun: stopped on request, after a checkpoint.
            RunError: a non-finite loss, where the recipe says to stop.
        """
        if self.state.evaluation_due:  # an earlier attempt was asked to stop in front of it
            self._finish_step()
        for step, rows, outcome in self.stepper.run(self._batches()):
            self.state.step, self.state.epoch = step + 1, (step + 1) / self.steps_per_epoch
            self.recorder.at(self.state.step, self.state.epoch)
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
            share = self._time.figures()["wait_share"]
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
        if self._checkpoints_here(evaluates):
            self._checkpoint()
        self.checkpoints.check()
        if self._is_asked_to_stop():
            self._interrupt()

    @property
    def _ends_epoch(self) -> bool:
        return self.state.step % self.steps_per_epoch == 0

    def _batches(self) -> Iterator[tuple[int, Rows]]:
        """(step, rows) from the state's step on: the position in the epoch is a function of the step alone."""
        recipe, store = self.parts.recipe, self.parts.stores["train"]
        if self.state.stopped_early:
            return
        first = self.state.step // self.steps_per_epoch
        for epoch in range(first, recipe.train.epochs):
            order = epoch_order(store.languages, recipe.seed, epoch, recipe.data.sampling_alpha)
            for number, rows in enumerate(effective_batches(order, recipe.train.batch_size)):
                step = epoch * self.steps_per_epoch + number
                if step >= self.state.step:
                    yield step, rows

    def _take(self, rows: Rows, outcome: StepOutcome) -> None:
        """Books one step."""
        state = self.state
        self._note_deviations()
        for taken in (self._epoch_time, self._time):
            taken.add(outcome.seconds, outcome.wait_seconds)
        if not outcome.is_finite:
            self._refuse(rows, outcome)
            return
        state.epoch_figures.add(outcome.loss, outcome.texts, outcome.tokens, outcome.confusion)
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
        self.recorder.flush_if_due()
        figures = {"loss": outcome.loss, "tokens_per_second": outcome.tokens / max(outcome.seconds, 1e-9)}
        self.recorder.observer.progress("train", state.step, self.stepper.schedule.total_steps, figures)

    def _refuse(self, rows: Rows, outcome: StepOutcome) -> None:
        """A non-finite step made no update; the recipe says whether training goes on."""
        source_rows = self.parts.stores["train"].rows[rows].tolist()
        texts = self._texts(rows)
        message = (
            f"step {self.state.step}: loss {outcome.loss}, gradient norm {outcome.grad_norm}; no update was made. "
            f"First rows of its batch: {', '.join(map(str, source_rows[:10]))}"
        )
        self.recorder.event("alert", {"what": "nonfinite", "message": message, "rows": source_rows, "texts": texts})
        self.recorder.log(message)
        for row, text in zip(source_rows, texts, strict=False):
            self.recorder.log(f"  row {row} begins {text!r}")  # escaped: a text may hold control characters
        if self.parts.recipe.train.on_nonfinite == "stop":
            self.recorder.flush()
            raise DivergedTraining(
                f"{message}. Lower optimizer.learning_rate, add warmup, or set train.on_nonfinite=skip"
            )

    def _texts(self, rows: Rows) -> list[str]:
        """How the first texts of a batch begin; none where the recipe keeps texts out of records."""
        if self.parts.texts is None or not self.parts.recipe.records.text:
            return []
        column = self.parts.texts.splits["train"].table["text"]
        return [column[int(row)].as_py()[:EXCERPT] for row in rows[:10]]

    def _note_deviations(self) -> None:
        for message in self.stepper.deviations:
            self.recorder.deviation(message)
        self.stepper.deviations.clear()
        self.state.token_budget = self.stepper.token_budget

    def _close_epoch(self) -> None:
        figures = self.state.epoch_figures
        if figures.texts:
            confusion = np.array(figures.confusion)
            data = {
                "loss": figures.loss_sum / figures.texts,
                "accuracy": float(count_metric("accuracy")(confusion)),
                "macro_f1": float(count_metric("macro_f1")(confusion)),
                "n": figures.texts,
                "tokens": figures.tokens,
                "wall": self._epoch_time.figures(),
            }
            self.recorder.event("epoch", data, key="train")
        self.state.epoch_figures = EpochFigures()
        self._epoch_time = StepTime()

    def _evaluates_here(self) -> bool:
        every = self.parts.recipe.evaluate.every
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
        with self._may_be_left():
            outputs = evaluate_split(self.parts, "validation", self.recorder.observer)
        scores = language_scores(self.parts, "validation", outputs)
        for language, found in scores.items():
            self.recorder.event("evaluation", evaluation_figures(found), key=f"validation/{language}")
        spec = self.parts.recipe.evaluate
        value = monitored_value(scores, self._monitored, spec.metric)
        if update_best(self.state, value, spec):
            self.recorder.event("best", {"metric": spec.metric, "value": value, "on": spec.on})
            if self.recorder.is_main:
                self.checkpoints.save(snapshot(self.parts.trainable, None, self.state))
        self._log_evaluation(scores, value)
        if self._tests_here():
            self._test()
        self.watch.evaluated(self.state, scores, self.recorder)

    def _tests_here(self) -> bool:
        wanted = self.parts.recipe.evaluate.test
        is_last = self.state.step == self.stepper.schedule.total_steps or self.state.stopped_early
        return "test" in self.parts.stores and (wanted == "each" or (wanted == "last" and is_last))

    def _test(self) -> None:
        """Scores the test texts with the weights as they are. Nothing in training looks at the outcome."""
        outputs = evaluate_split(self.parts, "test", self.recorder.observer)
        for language, found in language_scores(self.parts, "test", outputs).items():
            self.recorder.event("evaluation", evaluation_figures(found), key=f"test/{language}")

    def _log_evaluation(self, scores: dict[str, Scores], value: float) -> None:
        spec = self.parts.recipe.evaluate
        total = self.parts.recipe.train.epochs
        mean_loss = sum(found.loss or 0.0 for found in scores.values()) / len(scores)
        best = " (best so far)" if self.state.best_step == self.state.step else ""
        self.recorder.log(
            f"epoch {self.recorder.epoch:.3g}/{total}, step {self.state.step}: validation loss {mean_loss:.4f}, "
            f"{spec.metric} {value:.4f} on {', '.join(self._monitored)}{best}"
        )

    def _log_early_stop(self) -> None:
        spec, state = self.parts.recipe.evaluate, self.state
        self.recorder.log(
            f"stopped early, at epoch {self.recorder.epoch:.3g}/{self.parts.recipe.train.epochs}: no evaluation better "
            f"than that of step {state.best_step} (evaluate.patience is {spec.patience})"
        )

    def _checkpoints_here(self, evaluated: bool) -> bool:
        every = self.parts.recipe.checkpoints.every
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


def evaluation_figures(scores: Scores) -> dict[str, float | int | None]:
    """What an evaluation event says of one language."""
    names = ("loss", "accuracy", "macro_f1", "weighted_f1", "mcc")
    values = scores.values()
    figures: dict[str, float | int | None] = {"n": scores.n}
    for name in names:
        value = values[name]
        figures[name] = value if value is not None and math.isfinite(value) else None
    return figures
