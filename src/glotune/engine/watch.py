"""Watches a run while it trains, and says at once when it goes wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

from glotune.engine.recorder import Recorder
from glotune.engine.state import TrainingState
from glotune.errors import GlotuneError
from glotune.evidence.collapse import Collapse, find_collapses, find_pooled_collapse
from glotune.recipe import Recipe
from glotune.stats.scores import Scores

PATIENCE_SHARE = 0.2
"""Before this share of the training a one-class model is only a beginner."""


class CollapsedTraining(GlotuneError):
    """The run predicts one class and does not learn; the spine decides what follows."""


@dataclass
class Watch:
    """Announces a collapse when it happens (fact 12)."""

    recipe: Recipe
    labels: list[str]
    source_languages: list[str]
    total_steps: int

    def evaluated(self, state: TrainingState, scores: dict[str, Scores], recorder: Recorder) -> None:
        """Looks at an evaluation on the validation split.

        Raises:
            CollapsedTraining: a collapse, where the recipe says to stop or retry.
        """
        collapse = find_run_collapse(scores, self.source_languages)
        if collapse is None or state.step < PATIENCE_SHARE * self.total_steps:
            return
        message = (
            f"collapse: after {state.step} of {self.total_steps} steps {collapse.predicted_share:.0%} of the "
            f"validation texts in {', '.join(collapse.where)} are called '{self.labels[collapse.label]}' "
            f"(validation loss {_mean_loss(scores):.4f}, ln C = {math.log(len(self.labels)):.4f}). "
            "Lower optimizer.learning_rate or raise schedule.warmup_ratio"
        )
        if not state.collapse_announced:
            recorder.event("alert", {"what": "collapsed", "message": message})
            recorder.log(message)
            state.collapse_announced = True
        if self.recipe.train.on_collapse != "warn":
            raise CollapsedTraining(message)


def find_run_collapse(scores: dict[str, Scores], source_languages: list[str]) -> Collapse | None:
    """The collapse of the deciding languages: the source languages where they are validated, all otherwise."""
    deciding = {language: found for language, found in scores.items() if language in source_languages} or scores
    collapses = find_collapses(deciding)
    if len(collapses) == len(deciding):
        return next(iter(collapses.values()), None)
    return find_pooled_collapse(deciding)


def _mean_loss(scores: dict[str, Scores]) -> float:
    return sum(found.loss or 0.0 for found in scores.values()) / len(scores)
