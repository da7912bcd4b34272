"""Scores as functions of confusion matrices, over any number of them at once.

A bootstrap replicate, a posterior draw and a leave-one-out sample are all confusion matrices,
so one vectorised formula serves scores, intervals and tests. Matrices are [..., C, C], rows
the truth, columns the prediction, as in scikit-learn.

Averages run over all C classes, as scikit-learn does with ``labels=range(C)`` and
``zero_division=0``: a class absent from a split has F1 0 and still counts in the macro average.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glotune.errors import UserError, did_you_mean

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def confusion_matrix(label_B: ArrayLike, prediction_B: ArrayLike, num_labels: int) -> IntArray:
    """Counts [C, C]: entry (i, j) is the texts of label i that were predicted j."""
    labels = np.asarray(label_B, dtype=np.int64)
    predictions = np.asarray(prediction_B, dtype=np.int64)
    counts = np.bincount(labels * num_labels + predictions, minlength=num_labels**2)
    return counts.reshape(num_labels, num_labels)


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> FloatArray:
    """Elementwise division with 0 / 0 = 0 (scikit-learn's ``zero_division=0``)."""
    top, bottom = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def precision_per_class(confusion: ArrayLike) -> FloatArray:
    """[..., C]: correct over predicted."""
    counts = np.asarray(confusion, dtype=np.float64)
    return ratio(_diagonal(counts), counts.sum(axis=-2))


def recall_per_class(confusion: ArrayLike) -> FloatArray:
    """[..., C]: correct over true."""
    counts = np.asarray(confusion, dtype=np.float64)
    return ratio(_diagonal(counts), counts.sum(axis=-1))


def f1_per_class(confusion: ArrayLike) -> FloatArray:
    """[..., C]: harmonic mean of precision and recall, 2 TP / (true + predicted)."""
    counts = np.asarray(confusion, dtype=np.float64)
    return ratio(2.0 * _diagonal(counts), counts.sum(axis=-1) + counts.sum(axis=-2))


def accuracy(confusion: ArrayLike) -> FloatArray:
    """[...]: correct over all."""
    counts = np.asarray(confusion, dtype=np.float64)
    return ratio(_diagonal(counts).sum(axis=-1), counts.sum(axis=(-2, -1)))


def mcc(confusion: ArrayLike) -> FloatArray:
    """Matthews correlation, multi-class form R_K (Gorodkin 2004); 0 where undefined."""
    counts = np.asarray(confusion, dtype=np.float64)
    total = counts.sum(axis=(-2, -1))
    true, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    covariance = _diagonal(counts).sum(axis=-1) * total - (true * predicted).sum(axis=-1)
    spread_true = total**2 - (true**2).sum(axis=-1)
    spread_predicted = total**2 - (predicted**2).sum(axis=-1)
    # Rounding may leave a tiny positive spread where only one class exists.
    product = spread_true * spread_predicted
    product = np.where(product <= 1e-12 * total**4, 0.0, product)
    return ratio(covariance, np.sqrt(product))


def _diagonal(counts: FloatArray) -> FloatArray:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _macro(per_class: Callable[[ArrayLike], FloatArray]) -> Callable[[ArrayLike], FloatArray]:
    def average(confusion: ArrayLike) -> FloatArray:
        return np.asarray(per_class(confusion).mean(axis=-1), dtype=np.float64)

    return average


def _weighted(per_class: Callable[[ArrayLike], FloatArray]) -> Callable[[ArrayLike], FloatArray]:
    def average(confusion: ArrayLike) -> FloatArray:
        support = np.asarray(confusion, dtype=np.float64).sum(axis=-1)
        return ratio((per_class(confusion) * support).sum(axis=-1), support.sum(axis=-1))

    return average


COUNT_METRICS: dict[str, Callable[[ArrayLike], FloatArray]] = {
    "accuracy": accuracy,
    "macro_precision": _macro(precision_per_class),
    "macro_recall": _macro(recall_per_class),
    "macro_f1": _macro(f1_per_class),
    "weighted_precision": _weighted(precision_per_class),
    "weighted_recall": _weighted(recall_per_class),
    "weighted_f1": _weighted(f1_per_class),
    "mcc": mcc,
}


PER_CLASS: dict[str, Callable[[ArrayLike], FloatArray]] = {
    "precision": precision_per_class,
    "recall": recall_per_class,
    "f1": f1_per_class,
}
_OF_ONE_CLASS = re.compile(r"(precision|recall|f1)\[(\d+)\]")


def is_count_metric(name: str) -> bool:
    """Whether counts are enough for this metric."""
    return name in COUNT_METRICS or _OF_ONE_CLASS.fullmatch(name) is not None


def class_of(name: str) -> int | None:
    """2 of ``recall[2]``; None for a score of all classes."""
    one_class = _OF_ONE_CLASS.fullmatch(name)
    return None if one_class is None else int(one_class[2])


def count_metric(name: str) -> Callable[[ArrayLike], FloatArray]:
    """The function [..., C, C] -> [...] of a metric that needs only counts.

    Args:
        name: a key of `COUNT_METRICS`, or ``recall[2]`` for one class (precision and f1 likewise).

    Raises:
        UserError: the metric needs probabilities (loss, ece, roc_auc) or does not exist.
    """
    one_class = _OF_ONE_CLASS.fullmatch(name)
    if one_class is not None:
        per_class, index = PER_CLASS[one_class[1]], int(one_class[2])

        def of_one(confusion: ArrayLike) -> FloatArray:
            found = per_class(confusion)
            if index >= found.shape[-1]:
                raise UserError(f"metric {name!r}", expected=f"a class from 0 to {found.shape[-1] - 1}")
            return found[..., index]

        return of_one
    if name not in COUNT_METRICS:
        raise UserError(
            f"metric {name!r}",
            expected="a metric of counts: " + ", ".join(COUNT_METRICS),
            remedy=did_you_mean(name, COUNT_METRICS),
        )
    return COUNT_METRICS[name]
