"""Several labels for each text: binary cross-entropy of each that is annotated, and thresholds for the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glotune.data.batches import Rows
from glotune.evidence.label_sets import collapse_alarm
from glotune.recipe.kinds import KINDS, Kind
from glotune.recipe.schema import Recipe
from glotune.run.records import Decision
from glotune.stats.arrays import Answered, sigmoid
from glotune.stats.label_sets import BLANK, LabelSets, f1_of, label_sets
from glotune.stats.label_thresholds import cross_fitted_answers, fit_thresholds
from glotune.tasks.cross_entropy import explicit_weights, focused
from glotune.tasks.records import lists_of
from glotune.tasks.soft_targets import LabelProbabilities, SoftTargets
from glotune.tasks.targets import TargetArray
from glotune.tasks.task import sums_dtype

INVERSE_PENALTY, LEAST = 10.0, 1e-12
"""Of the logistic regression beside the run, as `glotune.tasks.baselines` has it; least probability of its answers."""
PosWeight = Literal["none", "balanced"] | dict[str, float]


@dataclass(frozen=True)
class LabelSetReading:
    """How several labels are learned and answered.

    Attributes:
        pos_weights_L: how much a label that applies counts beside one that doesn't.
        label_smoothing: share of the target that is spread over yes and no.
        focal_gamma: exponent of the focal loss; 0: none.
        threshold: the probability from which a label is answered; None: fitted on validation texts.
    """

    pos_weights_L: NDArray[np.float32]
    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    threshold: float | None = None

    @classmethod
    def of(
        cls, recipe: Recipe, labels: list[str], targets_NL: TargetArray, weights_N: NDArray[np.float32] | None
    ) -> LabelSetReading:
        """As a recipe says, for these training texts."""
        return cls(
            pos_weights(recipe.loss.pos_weight, labels, targets_NL, weights_N),
            recipe.loss.label_smoothing,
            recipe.loss.focal_gamma,
            None if recipe.evaluate.threshold == "fitted" else recipe.evaluate.threshold,
        )

    @property
    def kind(self) -> Kind:
        """Several labels."""
        return KINDS["multi_label"]

    @property
    def sums_each(self) -> int:
        """True positives, false positives, false negatives, true negatives, dropout on, from 1/2 on."""
        return 4

    def cell_weights(self, targets_BL: TargetArray) -> NDArray[np.float32]:
        """[B, L] 1, or the label's weight where it applies; 0 where it is not annotated."""
        weights_BL = np.where(targets_BL == 1.0, self.pos_weights_L, np.float32(1.0))
        return np.where(np.isnan(targets_BL), np.float32(0.0), weights_BL)

    def aims(self, targets_BL: TargetArray) -> NDArray[np.float32]:
        """1 where a label applies, else 0."""
        return np.nan_to_num(targets_BL, nan=0.0)

    def losses(self, outputs_BL: Tensor, aims_BL: Tensor) -> Tensor:
        """Binary cross-entropy, smoothed and focused as the recipe says."""
        smoothed_BL = aims_BL * (1.0 - self.label_smoothing) + self.label_smoothing / 2.0
        losses_BL = functional.binary_cross_entropy_with_logits(outputs_BL, smoothed_BL, reduction="none")
        # 1 - p of the truth, from the logit of its opposite: exact where p is near 1.
        missed_BL = torch.sigmoid(torch.where(aims_BL > 0.5, -outputs_BL, outputs_BL))
        return focused(losses_BL, missed_BL, self.focal_gamma)

    def plain_losses(self, outputs_BL: Tensor, aims_BL: Tensor) -> Tensor:
        """Binary cross-entropy in nats."""
        return functional.binary_cross_entropy_with_logits(outputs_BL, aims_BL, reduction="none")

    def sums(self, outputs_BL: Tensor, aims_BL: Tensor, is_there_BL: Tensor) -> Tensor:
        """[L, 4] counts of answers from 1/2 on."""
        dtype = sums_dtype(outputs_BL.device)
        yes_BL, true_BL = (outputs_BL >= 0).to(dtype), aims_BL.to(dtype)
        parts = (true_BL * yes_BL, (1 - true_BL) * yes_BL, true_BL * (1 - yes_BL), (1 - true_BL) * (1 - yes_BL))
        return torch.stack([(part * is_there_BL).sum(dim=0) for part in parts], dim=1)

    def epoch_metrics(self, sums: NDArray[np.float64]) -> Mapping[str, float]:
        """Macro- and micro-F1 of the training texts as they were answered on the way, from 1/2 on."""
        return {"macro_f1": float(f1_of(sums).mean()), "micro_f1": float(f1_of(sums.sum(axis=0)))}

    def decide(self, targets_NL: TargetArray, outputs_NL: NDArray[np.float64], languages: Sequence[str]) -> Decision:
        """A threshold for each label."""
        if self.threshold is not None:
            return Decision(thresholds=[self.threshold] * targets_NL.shape[1])
        thresholds_L = fit_thresholds(as_labels(targets_NL), sigmoid(outputs_NL))
        return Decision(thresholds=thresholds_L.tolist(), fitted_on=list(languages))

    def answering(
        self,
        outputs_NL: NDArray[np.float64],
        losses_N: NDArray[np.float64],
        targets_KL: TargetArray,
        decision: Decision,
        fitted_on: tuple[Rows, TargetArray, NDArray[np.integer]] | None,
    ) -> SetOutputs:
        """Answers by the thresholds; of the texts that fitted them cross-fitted."""
        return answered(outputs_NL, losses_N, targets_KL, decision, fitted_on if self.threshold is None else None)

    def text_losses(self, outputs_NL: NDArray[np.float64], targets_NL: TargetArray) -> NDArray[np.float64]:
        """Mean binary cross-entropy over the annotated labels of each text, in nats."""
        return text_losses(outputs_NL, targets_NL)

    def as_outputs(self, values_NL: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logits of probabilities."""
        return logits_of(values_NL)

    def cheap_model(
        self, features: Any, target_N: NDArray[np.float64], weights_N: NDArray[np.float64]
    ) -> Callable[[Any], NDArray[np.float64]]:
        """Logistic regression; of a label that all of these texts have, or none, its frequency."""
        from sklearn.linear_model import LogisticRegression

        if target_N.min() == target_N.max():
            return lambda found: np.full(found.shape[0], float(target_N[0]))
        model = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(features, target_N, sample_weight=weights_N)
        return lambda found: np.asarray(model.predict_proba(found)[:, 1], dtype=np.float64)

    def soft_targets(self, temperature: float) -> SoftTargets:
        """The teacher's probability of each label."""
        return LabelProbabilities(temperature)

    def alarm(self, answered: Mapping[str, Answered], labels: Sequence[str], sources: Sequence[str]) -> str | None:
        """Every label is answered alike for all texts, and the probabilities know nothing either."""
        return collapse_alarm({name: each for name, each in answered.items() if isinstance(each, LabelSets)}, sources)


def answered(
    outputs_NL: NDArray[np.float64],
    losses_N: NDArray[np.float64],
    targets_KL: TargetArray,
    decision: Decision,
    fitted_on: tuple[Rows, TargetArray, NDArray[np.integer]] | None,
) -> SetOutputs:
    """Answers by the thresholds; of the texts that fitted them (rows, their targets, keys) cross-fitted."""
    probabilities_NL = sigmoid(outputs_NL)
    answers_NL = probabilities_NL >= np.array(decision.thresholds)
    if fitted_on is not None:
        rows, targets, keys = fitted_on
        answers_NL[rows] = cross_fitted_answers(as_labels(targets), probabilities_NL[rows], keys)
    return SetOutputs(probabilities_NL, answers_NL, losses_N, targets_KL)


@dataclass(frozen=True)
class SetOutputs:
    """What the network says of the N texts of a split."""

    probabilities_NL: NDArray[np.float64]
    answers_NL: NDArray[np.bool_]
    losses_N: NDArray[np.float64]
    targets_KL: TargetArray

    def outcomes(
        self, rows: NDArray[np.int64], labels_N: NDArray[Any], cluster_B: NDArray[np.int64] | None = None
    ) -> LabelSets:
        """What it says of the texts at `rows`, beside the truth."""
        labels_BL = as_labels(self.targets_KL[labels_N[rows]])
        return label_sets(labels_BL, self.probabilities_NL[rows], self.answers_NL[rows], self.losses_N[rows], cluster_B)

    def columns(self, rows: NDArray[np.int64], labels_B: NDArray[Any]) -> dict[str, pa.Array]:
        """Lists: null where a label is not annotated."""
        labels_BL = as_labels(self.targets_KL[labels_B])
        return {
            "label": lists_of(labels_BL.astype(np.int8), labels_BL == BLANK),
            "predicted": lists_of(self.answers_NL[rows].astype(np.int8)),
            "probabilities": lists_of(self.probabilities_NL[rows]),
            "loss": pa.array(self.losses_N[rows], pa.float64()),
        }

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """Nothing."""
        return {}


def as_labels(targets: TargetArray) -> NDArray[np.int64]:
    """1, 0, and -1 where a label is not annotated."""
    return np.nan_to_num(targets, nan=BLANK).astype(np.int64)


def logits_of(probabilities_NL: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the probability of each label; of 0 and 1 finite ones."""
    kept_NL = np.clip(probabilities_NL, LEAST, 1.0 - LEAST)
    return np.asarray(np.log(kept_NL) - np.log1p(-kept_NL), dtype=np.float64)


def text_losses(logits_NL: NDArray[np.float64], targets_NL: TargetArray) -> NDArray[np.float64]:
    """[N] mean binary cross-entropy over the annotated labels of each text, in nats."""
    losses_NL = np.logaddexp(0.0, np.where(targets_NL == 1.0, -logits_NL, logits_NL))
    return np.asarray(np.nanmean(np.where(np.isnan(targets_NL), np.nan, losses_NL), axis=1), dtype=np.float64)


def pos_weights(
    spec: PosWeight, labels: list[str], targets_NL: TargetArray, weights_N: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """[L] how much a label that applies counts; a row counts as often as its weight says.

    Raises:
        UserError: explicit weights name an unknown label or leave one out.
    """
    if spec == "none":
        return np.ones(len(labels), np.float32)
    if spec == "balanced":
        counts_N = np.ones(len(targets_NL)) if weights_N is None else weights_N.astype(np.float64)
        applies_L, not_L = counts_N @ (targets_NL == 1.0), counts_N @ (targets_NL == 0.0)
        return np.asarray(np.where(applies_L > 0, not_L / np.maximum(applies_L, 1e-12), 1.0), np.float32)
    return explicit_weights("loss.pos_weight", spec, labels)
