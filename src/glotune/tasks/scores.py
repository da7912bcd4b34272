"""Scores of texts: squared (or Huber's) error in units of their standard deviation over the training texts.

The network learns how many standard deviations a score lies from its mean, whatever its units; answers are put back
into these. The saved model gives scores themselves: its last linear map takes means and deviations in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glotune.data.batches import Rows
from glotune.evidence.ratings import collapse_alarm
from glotune.recipe.kinds import KINDS, Kind
from glotune.recipe.schema import Recipe
from glotune.run.predictions import LEVELS
from glotune.run.records import Decision
from glotune.stats.arrays import Answered
from glotune.stats.ratings import Ratings, ratings
from glotune.tasks.records import lists_of
from glotune.tasks.soft_targets import Scores, SoftTargets
from glotune.tasks.targets import TargetArray
from glotune.tasks.task import sums_dtype

PENALTY = 1.0
"""Of the ridge regression beside the run."""


@dataclass(frozen=True)
class ScoreReading:
    """How scores are learned and answered.

    Attributes:
        means_L, deviations_L: over the training texts, a row counting as often as its weight says.
        huber: beyond so many standard deviations an error counts linearly; None: squared throughout.
        levels: the values that scores take; empty where they are any numbers.
    """

    means_L: NDArray[np.float64]
    deviations_L: NDArray[np.float64]
    huber: float | None = None
    levels: tuple[float, ...] = ()

    @classmethod
    def of(cls, recipe: Recipe, targets_NL: TargetArray, weights_N: NDArray[np.float32] | None) -> ScoreReading:
        """As a recipe says, for these training texts."""
        counts_N = np.ones(len(targets_NL)) if weights_N is None else weights_N.astype(np.float64)
        counts_NL = np.where(np.isnan(targets_NL), 0.0, counts_N[:, None])
        scores_NL = np.nan_to_num(targets_NL).astype(np.float64)
        means_L = (counts_NL * scores_NL).sum(axis=0) / counts_NL.sum(axis=0)
        variances_L = (counts_NL * (scores_NL - means_L) ** 2).sum(axis=0) / counts_NL.sum(axis=0)
        return cls(means_L, np.sqrt(variances_L), recipe.loss.huber, tuple(recipe.data.levels or ()))

    @property
    def decision(self) -> Decision:
        """Means and deviations follow from the training texts alone."""
        return Decision(means=self.means_L.tolist(), deviations=self.deviations_L.tolist(), levels=list(self.levels))

    @property
    def kind(self) -> Kind:
        """Scores."""
        return KINDS["score"]

    @property
    def sums_each(self) -> int:
        """Texts, and sums of truth, answer, their squares and product, dropout on, in standard deviations."""
        return 6

    def cell_weights(self, targets_BL: TargetArray) -> NDArray[np.float32]:
        """[B, L] 1 where there is a score, else 0."""
        return (~np.isnan(targets_BL)).astype(np.float32)

    def aims(self, targets_BL: TargetArray) -> NDArray[np.float32]:
        """Standard deviations from the mean; 0 where there is no score."""
        return np.nan_to_num((targets_BL - self.means_L) / self.deviations_L, nan=0.0).astype(np.float32)

    def losses(self, outputs_BL: Tensor, aims_BL: Tensor) -> Tensor:
        """Squared error, or twice Huber's, which is the same for small errors."""
        if self.huber is None:
            return (outputs_BL - aims_BL) ** 2
        return 2.0 * functional.huber_loss(outputs_BL, aims_BL, reduction="none", delta=self.huber)

    def plain_losses(self, outputs_BL: Tensor, aims_BL: Tensor) -> Tensor:
        """Squared error."""
        return (outputs_BL - aims_BL) ** 2

    def sums(self, outputs_BL: Tensor, aims_BL: Tensor, is_there_BL: Tensor) -> Tensor:
        """[L, 6] moments."""
        dtype = sums_dtype(outputs_BL.device)
        x, y, there = (each.to(dtype) for each in (aims_BL, outputs_BL, is_there_BL))
        parts = (torch.ones_like(x), x, y, x * x, y * y, x * y)
        return torch.stack([(part * there).sum(dim=0) for part in parts], dim=1)

    def epoch_metrics(self, sums: NDArray[np.float64]) -> Mapping[str, float]:
        """Pearson's correlation over the training texts as they were answered on the way; 0 where there is none."""
        n, x, y, xx, yy, xy = sums.T
        spread = np.maximum((n * xx - x**2) * (n * yy - y**2), 0.0)
        found = np.divide(n * xy - x * y, np.sqrt(spread), out=np.zeros_like(n), where=spread > 0)
        return {"pearson": float(found.mean())}

    def decide(self, targets_NL: TargetArray, outputs_NL: NDArray[np.float64], languages: Sequence[str]) -> Decision:
        """Nothing is fitted on validation texts."""
        return self.decision

    def answering(
        self,
        outputs_NL: NDArray[np.float64],
        losses_N: NDArray[np.float64],
        targets_KL: TargetArray,
        decision: Decision,
        fitted_on: tuple[Rows, TargetArray, NDArray[np.integer]] | None,
    ) -> ScoreOutputs:
        """Scores in their own units."""
        scores_NL = outputs_NL * self.deviations_L + self.means_L
        return ScoreOutputs(scores_NL, losses_N, targets_KL, self.levels)

    def text_losses(self, outputs_NL: NDArray[np.float64], targets_NL: TargetArray) -> NDArray[np.float64]:
        """Mean squared error over the scores of each text, in units of their variance."""
        return text_losses(outputs_NL * self.deviations_L + self.means_L, targets_NL, self.decision)

    def as_outputs(self, values_NL: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard deviations from the means."""
        return (values_NL - self.means_L) / self.deviations_L

    def cheap_model(
        self, features: Any, target_N: NDArray[np.float64], weights_N: NDArray[np.float64]
    ) -> Callable[[Any], NDArray[np.float64]]:
        """Ridge regression."""
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=PENALTY).fit(features, target_N, sample_weight=weights_N)
        return lambda found: np.asarray(model.predict(found), dtype=np.float64)

    def soft_targets(self, temperature: float) -> SoftTargets:
        """The teacher's scores."""
        return Scores(self.as_outputs)

    def alarm(self, answered: Mapping[str, Answered], labels: Sequence[str], sources: Sequence[str]) -> str | None:
        """Every text gets the same score."""
        return collapse_alarm({name: each for name, each in answered.items() if isinstance(each, Ratings)}, sources)


@dataclass(frozen=True)
class ScoreOutputs:
    """What the network says of the N texts of a split, in the scores' own units."""

    scores_NL: NDArray[np.float64]
    losses_N: NDArray[np.float64]
    targets_KL: TargetArray
    levels: tuple[float, ...] = ()

    def outcomes(
        self, rows: NDArray[np.int64], labels_N: NDArray[Any], cluster_B: NDArray[np.int64] | None = None
    ) -> Ratings:
        """What it says of the texts at `rows`, beside the truth."""
        truth_BL = self.targets_KL[labels_N[rows]]
        return ratings(truth_BL, self.scores_NL[rows], self.losses_N[rows], cluster_B, self.levels)

    def columns(self, rows: NDArray[np.int64], labels_B: NDArray[Any]) -> dict[str, pa.Array]:
        """Lists: null where there is no score; no probabilities."""
        truth_BL = self.targets_KL[labels_B].astype(np.float64)
        return {
            "label": lists_of(truth_BL, np.isnan(truth_BL)),
            "predicted": lists_of(self.scores_NL[rows]),
            "probabilities": lists_of(np.empty((len(rows), 0))),
            "loss": pa.array(self.losses_N[rows], pa.float64()),
        }

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """The levels, where there are any: agreement hangs on them."""
        return {LEVELS: json.dumps(self.levels).encode()} if self.levels else {}


def text_losses(scores_NL: NDArray[np.float64], targets_NL: TargetArray, decision: Decision) -> NDArray[np.float64]:
    """[N] mean squared error over the scores of each text, in units of their variance over the training texts."""
    errors_NL = (scores_NL - targets_NL) / np.array(decision.deviations)
    return np.asarray(np.nanmean(errors_NL**2, axis=1), dtype=np.float64)
