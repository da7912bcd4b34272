"""Watches a run while it trains, and says at once when it goes wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from glotune.errors import GlotuneError
from glotune.metrics.scores import Scores
from glotune.recipe import Recipe
from glotune.training.recorder import Recorder
from glotune.training.state import TrainingState

PATIENCE_SHARE = 0.2
"""Before this share of the training a one-class model is only a beginner."""


class CollapsedTraining(GlotuneError):
    """The run predicts one class and does not learn; the spine decides what follows."""


@dataclass
class Watch:
    """Announces a collapse when it happens (fact 12)."""

    recipe: Recipe
    labels: list[str]
    total_steps: int

    def evaluated(self, state: TrainingState, scores: dict[str, Scores], recorder: Recorder) -> None:
        """Looks at an evaluation.

        Raises:
            CollapsedTraining: a collapse, where the recipe says to stop or retry.
        """
        if state.step < PATIENCE_SHARE * self.total_steps or not is_one_class(scores):
            return
        message = (
            f"collapse: after {state.step} of {self.total_steps} steps every validation text is called "
            f"'{self._only_label(scores)}' (validation loss {_mean_loss(scores):.4f}, ln C = "
            f"{math.log(len(self.labels)):.4f}). Lower optimizer.learning_rate or raise schedule.warmup_ratio"
        )
        if not state.collapse_announced:
            recorder.event("alert", {"what": "collapsed", "message": message})
            recorder.log(message)
            state.collapse_announced = True
        if self.recipe.train.on_collapse != "warn":
            raise CollapsedTraining(message)

    def _only_label(self, scores: dict[str, Scores]) -> str:
        confusion = np.sum([found.confusion_CC for found in scores.values()], axis=0)
        return self.labels[int(confusion.sum(axis=0).argmax())]


def is_one_class(scores: dict[str, Scores]) -> bool:
    """Whether all predictions of all languages are one class, and the truth is not."""
    confusion = np.sum([found.confusion_CC for found in scores.values()], axis=0)
    predicted, true = (confusion.sum(axis=0) > 0).sum(), (confusion.sum(axis=1) > 0).sum()
    return bool(predicted == 1 and true > 1)


def _mean_loss(scores: dict[str, Scores]) -> float:
    return sum(found.loss or 0.0 for found in scores.values()) / len(scores)
