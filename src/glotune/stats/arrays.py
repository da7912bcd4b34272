"""The arrays that every metric reads, and the one check that they fit together.

Shape letters: B texts, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from glotune.errors import UserError
from glotune.stats.confusion import FloatArray, IntArray, confusion_matrix

# Probabilities come from a float32 softmax; a row of 10 classes sums to 1 within about 1e-6.
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What a model said about a list of texts, beside the truth.

    Attributes:
        label_B: true label ids, 0 .. C-1.
        probabilities_BC: float64, each row sums to 1.
        loss_B: cross-entropy per text in nats, or None where it was not recorded.
        cluster_B: one number for texts that belong together, here and in the other languages of the split
            (`glotune.stats.clusters`); None where every text stands for itself.
    """

    label_B: IntArray
    probabilities_BC: FloatArray
    loss_B: FloatArray | None = None
    cluster_B: IntArray | None = None

    @property
    def num_texts(self) -> int:
        """B."""
        return int(self.label_B.shape[0])

    @property
    def num_labels(self) -> int:
        """C."""
        return int(self.probabilities_BC.shape[1])

    @property
    def is_finite(self) -> bool:
        """False after a divergence: a probability or a loss is NaN or infinite."""
        losses_are_finite = self.loss_B is None or bool(np.isfinite(self.loss_B).all())
        return losses_are_finite and bool(np.isfinite(self.probabilities_BC).all())

    @cached_property
    def prediction_B(self) -> IntArray:
        """The most probable label; the lower id on a tie, as numpy and torch do."""
        return np.asarray(self.probabilities_BC.argmax(axis=1), dtype=np.int64)

    @cached_property
    def confusion_CC(self) -> IntArray:
        """Counts, rows the truth, columns the prediction."""
        return confusion_matrix(self.label_B, self.prediction_B, self.num_labels)


def outcomes(
    label_B: ArrayLike,
    probabilities_BC: ArrayLike,
    loss_B: ArrayLike | None = None,
    cluster_B: ArrayLike | None = None,
) -> Outcomes:
    """Check the arrays against each other and gather them.

    Non-finite values are let through: the verdict names a divergence, the scores refuse it.

    Raises:
        UserError: lengths differ, no text, fewer than two classes, a label outside 0 .. C-1,
            or a row of probabilities that does not sum to 1.
    """
    labels = np.asarray(label_B, dtype=np.int64)
    probabilities = np.asarray(probabilities_BC, dtype=np.float64)
    losses = None if loss_B is None else np.asarray(loss_B, dtype=np.float64)
    clusters = None if cluster_B is None else np.asarray(cluster_B, dtype=np.int64)
    _check_shapes(labels, probabilities, losses, clusters)
    _check_values(labels, probabilities)
    return Outcomes(labels, probabilities, losses, clusters)


def _check_shapes(
    labels: IntArray, probabilities: FloatArray, losses: FloatArray | None, clusters: IntArray | None
) -> None:
    if labels.ndim != 1 or probabilities.ndim != 2 or len(labels) != len(probabilities):
        raise UserError(
            found=f"labels of shape {labels.shape}, probabilities of shape {probabilities.shape}",
            expected="labels [B] and probabilities [B, C]: one row for each label",
            remedy="read both from the same prediction records",
        )
    if losses is not None and losses.shape != labels.shape:
        raise UserError(
            found=f"losses of shape {losses.shape} for {len(labels)} labels",
            expected="one loss for each text",
            remedy="record the loss per text, not per batch",
        )
    if clusters is not None and clusters.shape != labels.shape:
        raise UserError(
            found=f"cluster numbers of shape {clusters.shape} for {len(labels)} labels",
            expected="one number for each text",
        )
    if len(labels) == 0 or probabilities.shape[1] < 2:
        raise UserError(
            found=f"{len(labels)} texts, {probabilities.shape[1]} classes",
            expected="at least one text and two classes",
            remedy="leave an empty split out of the evaluation",
        )


def _check_values(labels: IntArray, probabilities: FloatArray) -> None:
    num_labels = probabilities.shape[1]
    outside = np.flatnonzero((labels < 0) | (labels >= num_labels))
    if outside.size:
        raise UserError(
            found=f"label {labels[outside[0]]}",
            expected=f"a label id from 0 to {num_labels - 1}",
            remedy="map the labels with data.labels",
            where=f"text {outside[0]} ({outside.size} texts in all)",
        )
    sums = probabilities.sum(axis=1)
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(np.isfinite(sums) & (np.abs(sums - 1.0) > SUM_TOLERANCE))
    if wrong.size:
        raise UserError(
            found=f"probabilities that sum to {sums[wrong[0]]:.4f}",
            expected="rows that sum to 1",
            remedy="store the softmax of the logits, not the logits",
            where=f"text {wrong[0]} ({wrong.size} texts in all)",
        )


def softmax(logits_NC: FloatArray, *, in_place: bool = False) -> FloatArray:
    """Probabilities_NC; `in_place`: over the logits, which are needed no more."""
    # Of many texts, each copy is as large as all that is kept of them.
    shares = np.subtract(logits_NC, logits_NC.max(axis=1, keepdims=True), out=logits_NC if in_place else None)
    np.exp(shares, out=shares)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares
