"""Confident learning: labels that a model, which did not learn them, confidently contradicts.

Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of Artificial
Intelligence Research 70 (arXiv:1911.00068).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LabelNoise:
    """What N texts with their labels and out-of-sample probabilities say of the labels."""

    thresholds_C: FloatArray
    """The mean probability of each class over the texts that bear it (eq. 2); infinite where none does."""
    joint_CC: NDArray[np.int64]
    """[given][likely]: how many texts with the one label count as the other (the confident joint, eq. 1)."""
    likely_N: NDArray[np.int64]
    """The class that each text counts as; -1 where no probability reaches its threshold."""
    labels_N: NDArray[np.int64]

    @property
    def errors(self) -> NDArray[np.int64]:
        """Places of the texts off the diagonal of the confident joint."""
        return np.flatnonzero((self.likely_N >= 0) & (self.likely_N != self.labels_N))

    @property
    def estimated_joint_CC(self) -> FloatArray:
        """[given][true]: share of all texts, the confident joint scaled to how often each label is given (eq. 3)."""
        counts_C = np.bincount(self.labels_N, minlength=len(self.joint_CC)).astype(np.float64)
        rows_C = self.joint_CC.sum(axis=1)
        known = rows_C > 0
        found_CC = np.diag(counts_C)  # of a label none of whose texts is counted nothing is known
        found_CC[known] = self.joint_CC[known] / rows_C[known, None] * counts_C[known, None]
        return np.asarray(found_CC / found_CC.sum())

    @property
    def rate(self) -> float:
        """Estimated share of wrong labels: what the estimated joint has off its diagonal."""
        return float(1.0 - np.trace(self.estimated_joint_CC))


def confident_learning(labels_N: NDArray[np.integer], probabilities_NC: FloatArray) -> LabelNoise:
    """Counts each text as the likeliest class among those whose probability reaches the class's threshold.

    Args:
        labels_N: given labels, at least one.
        probabilities_NC: of a model that was not trained on the text; otherwise it confirms what it was told.
    """
    given_N: NDArray[np.int64] = labels_N.astype(np.int64)
    classes = probabilities_NC.shape[1]
    counts_C = np.bincount(given_N, minlength=classes)
    own_N = probabilities_NC[np.arange(len(given_N)), given_N]
    sums_C = np.bincount(given_N, own_N, minlength=classes)
    thresholds_C = np.where(counts_C > 0, sums_C / np.maximum(counts_C, 1), np.inf)
    reached_NC = probabilities_NC >= thresholds_C
    likely_N = np.where(reached_NC.any(axis=1), np.where(reached_NC, probabilities_NC, -np.inf).argmax(axis=1), -1)
    joint_CC = np.zeros((classes, classes), np.int64)
    counted = likely_N >= 0
    np.add.at(joint_CC, (given_N[counted], likely_N[counted]), 1)
    return LabelNoise(thresholds_C, joint_CC, likely_N, given_N)


def normalised_margins(labels_N: NDArray[np.integer], probabilities_NC: FloatArray) -> FloatArray:
    """[N] the probability of the given label minus that of the likeliest other one: the lower, the likelier an error
    (section 3.2 ranks by it; between -1 and 1)."""
    rows = np.arange(len(labels_N))
    others_NC = probabilities_NC.copy()
    others_NC[rows, labels_N] = -np.inf
    return np.asarray(probabilities_NC[rows, labels_N] - others_NC.max(axis=1))
