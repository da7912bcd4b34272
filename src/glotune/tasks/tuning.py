"""Thresholds of classes, fitted on the validation texts that choose the checkpoint, and answers by them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from glotune.run.records import Decision
from glotune.stats.arrays import Outcomes, outcomes, softmax
from glotune.stats.thresholds import answers_at, cross_fitted_classes, tune_thresholds
from glotune.tasks.records import Outputs


@dataclass(frozen=True)
class Tuning:
    """The validation texts that thresholds are tuned on.

    Attributes:
        rows: their places in the split, ascending.
        labels_B: their class ids.
        keys_B: equal for texts that belong together.
        languages: theirs.
        metric: what the thresholds maximise.
    """

    rows: NDArray[np.int64]
    labels_B: NDArray[np.int16]
    keys_B: NDArray[np.int64]
    languages: list[str]
    metric: str

    def decide(self, outputs: Outputs) -> Decision:
        """The thresholds that all of these texts fit."""
        thresholds_C = tune_thresholds(self._outcomes(outputs), self.metric)
        return Decision(thresholds=thresholds_C.tolist(), fitted_on=self.languages, tuned_for=self.metric)

    def answered(self, outputs: Outputs, decision: Decision) -> Outputs:
        """The validation split, these of its texts cross-fitted."""
        found = by_thresholds(outputs, decision)
        assert found.answers_N is not None
        found.answers_N[self.rows] = cross_fitted_classes(self._outcomes(outputs), self.metric, self.keys_B)
        return found

    def _outcomes(self, outputs: Outputs) -> Outcomes:
        weight_B = None if outputs.weights_N is None else outputs.weights_N[self.rows]
        return outcomes(self.labels_B, softmax(outputs.logits_NC[self.rows], in_place=True), weight_B=weight_B)


def by_thresholds(outputs: Outputs, decision: Decision) -> Outputs:
    """The same, answered by a run's thresholds."""
    return replace(outputs, answers_N=answers_at(softmax(outputs.logits_NC), np.array(decision.thresholds)))
