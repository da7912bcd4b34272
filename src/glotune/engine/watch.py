"""Watches a run while it trains, and says at once when it goes wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

from glotune.engine.recorder import Recorder
from glotune.engine.state import TrainingState
from glotune.errors import GlotuneError
from glotune.evidence.collapse import Collapse, deciding_languages, frequency_loss, has_learned, run_collapses
from glotune.recipe import Recipe
from glotune.stats.scores import Scores

PATIENCE_SHARE = 0.2
"""A model that answers one class and has learned nothing is a beginner until it has been so for this share of the
training: no sooner does an evaluation say whether it stays there."""


class CollapsedTraining(GlotuneError):
    """The run predicts one class and does not learn; the spine decides what follows."""


@dataclass
class Watch:
    """Announces a collapse when it is one: one class answered, nothing learned behind it, and no way out seen."""

    recipe: Recipe
    labels: list[str]
    source_languages: list[str]
    total_steps: int

    def evaluated(self, state: TrainingState, scores: dict[str, Scores], recorder: Recorder) -> None:
        """Looks at an evaluation on the validation split.

        Raises:
            CollapsedTraining: a collapse, where the recipe says to stop or retry.
        """
        collapses = collapses_without_skill(scores, self.source_languages)
        if not collapses:
            state.one_class_since = None
            self._take_back(state, recorder)
            return
        if state.one_class_since is None:
            state.one_class_since = state.step
        if not self._is_settled(state):
            return
        message = self._message(state, scores, collapses)
        if not state.collapse_announced:
            recorder.event("alert", {"what": "collapsed", "message": message})
            recorder.log(message)
            state.collapse_announced = True
        if self.recipe.train.on_collapse != "warn":
            raise CollapsedTraining(message)

    def _is_settled(self, state: TrainingState) -> bool:
        """Whether it has lasted, or training ends with it and keeps it as its best."""
        since = state.step if state.one_class_since is None else state.one_class_since
        is_over = state.step >= self.total_steps or state.stopped_early
        return state.step - since >= PATIENCE_SHARE * self.total_steps or (is_over and state.best_step == state.step)

    def _take_back(self, state: TrainingState, recorder: Recorder) -> None:
        if not state.collapse_announced:
            return
        message = f"no collapse any more: the validation texts of step {state.step} show that the model learns"
        recorder.event("warning", {"what": "recovered", "message": message})
        recorder.log(message)
        state.collapse_announced = False

    def _message(self, state: TrainingState, scores: dict[str, Scores], collapses: list[Collapse]) -> str:
        answered = "; ".join(
            f"{each.predicted_share:.0%} of the validation texts in {', '.join(each.where)} are called "
            f"'{self.labels[each.label]}'"
            for each in collapses
        )
        found = [scores[language] for each in collapses for language in each.where]
        loss = sum(each.loss or 0.0 for each in found) / len(found)
        since = "" if state.one_class_since == state.step else f", as since step {state.one_class_since},"
        return (
            f"collapse: after {state.step} of {self.total_steps} steps{since} {answered} (validation loss {loss:.4f}; "
            f"knowing only how frequent each label is gives {frequency_loss(found):.4f}, guessing ln C = "
            f"{math.log(len(self.labels)):.4f}). Lower optimizer.learning_rate or raise schedule.warmup_ratio"
        )


def collapses_without_skill(scores: dict[str, Scores], source_languages: list[str]) -> list[Collapse]:
    """The collapses of the deciding languages, where the probabilities of none of them have learned anything."""
    if any(has_learned(scores[language]) for language in deciding_languages(scores, source_languages)):
        return []
    return run_collapses(scores, source_languages)
