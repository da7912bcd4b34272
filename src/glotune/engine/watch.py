"""A model that answers one class and learns nothing: when it is announced, and when it ends the run."""

from __future__ import annotations

from dataclasses import dataclass

from glotune.engine.recorder import Recorder
from glotune.engine.state import TrainingState
from glotune.errors import GlotuneError

PATIENCE_SHARE = 0.2
"""A model that answers one class and has learned nothing is a beginner until it has been so for this share of the
training: no sooner does an evaluation say whether it stays there."""


class CollapsedTraining(GlotuneError):
    """The run predicts one class and does not learn; the spine decides what follows.

    Args:
        total_steps: of the whole training.
    """

    def __init__(self, message: str = "", total_steps: int = 0) -> None:
        super().__init__(message)
        self.total_steps = total_steps


@dataclass(frozen=True)
class Watch:
    """Announces a collapse when it is one: seen in evaluation after evaluation, and no way out of it."""

    total_steps: int
    on_collapse: str

    def evaluated(self, state: TrainingState, alarm: str | None, recorder: Recorder) -> None:
        """Looks at one evaluation. An early collapse is that of a beginner, and no alarm.

        Raises:
            CollapsedTraining: a collapse, where the recipe says to stop or retry.
        """
        if alarm is None:
            state.one_class_since = None
            self._take_back(state, recorder)
            return
        if state.one_class_since is None:
            state.one_class_since = state.step
        if not self._is_settled(state, state.one_class_since):
            return
        since = "" if state.one_class_since == state.step else f", as since step {state.one_class_since},"
        message = f"collapse: after {state.step} of {self.total_steps} steps{since} {alarm}"
        if not state.collapse_announced:
            recorder.event("alert", {"what": "collapsed", "message": message})
            recorder.log(message)
            state.collapse_announced = True
        if self.on_collapse != "warn":
            raise CollapsedTraining(message, self.total_steps)

    def _is_settled(self, state: TrainingState, since: int) -> bool:
        """Whether it has lasted, or training ends with it and keeps it as its best."""
        is_over = state.step >= self.total_steps or state.stopped_early
        return state.step - since >= PATIENCE_SHARE * self.total_steps or (is_over and state.best_step == state.step)

    def _take_back(self, state: TrainingState, recorder: Recorder) -> None:
        if not state.collapse_announced:
            return
        message = f"no collapse any more: the validation texts of step {state.step} show that the model learns"
        recorder.event("warning", {"what": "recovered", "message": message})
        recorder.log(message)
        state.collapse_announced = False
