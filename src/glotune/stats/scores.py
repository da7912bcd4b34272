"""Every score of one split and language, from its labels, probabilities and losses.

Equal to scikit-learn's with ``labels=range(C), zero_division=0``: averages run over all C
classes, so a class that a split lacks counts 0 in the macro average (`Scores.absent_labels`
names such classes; macro scores of splits with and without them don't compare).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glotune.errors import UserError
from glotune.stats.arrays import Outcomes
from glotune.stats.calibration import expected_calibration_error
from glotune.stats.confusion import (
    COUNT_METRICS,
    FloatArray,
    IntArray,
    f1_per_class,
    precision_per_class,
    recall_per_class,
)
from glotune.stats.curves import macro_roc_auc, roc_auc_per_class
from glotune.stats.votes import VOTE_METRICS


@dataclass(frozen=True)
class ClassScores:
    """One class; `support` is its number of texts."""

    precision: float
    recall: float
    f1: float
    support: int
    roc_auc: float | None


@dataclass(frozen=True)
class Scores:
    """All scores of one split and language; shares in 0 .. 1, loss in nats per text."""

    n: int
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    mcc: float
    loss: float | None
    """Mean over texts; None where no losses were recorded."""
    ece: float
    roc_auc: float | None
    """Mean one-vs-rest AUC; None where a class is absent."""
    per_class: tuple[ClassScores, ...]
    confusion_CC: tuple[tuple[int, ...], ...]
    """``confusion_CC[true][predicted]``."""
    votes_C: tuple[float, ...] = ()
    """Where there are votes: texts of each class by its share of their votes."""
    of_votes: tuple[tuple[str, float | None], ...] = ()
    """What the votes say (`glotune.stats.votes`), by name; None where it can't be asked."""

    @property
    def frequencies(self) -> tuple[float, ...]:
        """How many texts each class has, of votes by their shares: what stating the label frequencies knows."""
        return self.votes_C or tuple(float(each.support) for each in self.per_class)

    @property
    def absent_labels(self) -> tuple[int, ...]:
        """Classes without a text here; they count 0 in the macro averages."""
        return tuple(index for index, scores in enumerate(self.per_class) if scores.support == 0)

    def values(self) -> dict[str, float | None]:
        """Metric name -> value, by the names of `glotune.stats.traits`."""
        return {
            **{name: float(getattr(self, name)) for name in COUNT_METRICS},
            "loss": self.loss, "ece": self.ece, "roc_auc": self.roc_auc, **dict(self.of_votes),
        }  # fmt: skip

    def class_values(self, labels: Sequence[str]) -> dict[str, dict[str, float]]:
        """Label name -> its scores; an undefined AUC is left out.

        Raises:
            UserError: not one name for each class.
        """
        if len(labels) != len(self.per_class):
            raise UserError(
                f"{len(labels)} label names for {len(self.per_class)} classes",
                expected="one name for each class, in the order of the class ids",
            )
        return {label: _class_values(scores) for label, scores in zip(labels, self.per_class, strict=True)}


def _class_values(scores: ClassScores) -> dict[str, float]:
    values = {
        "precision": scores.precision, "recall": scores.recall, "f1": scores.f1, "support": float(scores.support)
    }  # fmt: skip
    return values if scores.roc_auc is None else {**values, "roc_auc": scores.roc_auc}


def score_outcomes(checked: Outcomes) -> Scores:
    """Every score of what a model said of a list of texts.

    Raises:
        UserError: a probability or loss is not finite: a diverged model has a verdict, not scores.
    """
    if not checked.is_finite:
        bad = np.flatnonzero(~np.isfinite(checked.probabilities_BC).all(axis=1))
        raise UserError(
            f"{bad.size} of {checked.num_texts} texts have probabilities that are not finite, or a loss is not",
            expected="finite numbers",
            remedy="The training diverged: lower optimizer.learning_rate, or raise schedule.warmup_ratio",
        )
    confusion_CC, weighed_CC = checked.confusion_CC, _weighed(checked)
    auc_C = roc_auc_per_class(checked) if checked.weight_B is None else (None,) * checked.num_labels
    columns = zip(
        precision_per_class(weighed_CC), recall_per_class(weighed_CC), f1_per_class(weighed_CC),
        confusion_CC.sum(axis=1), auc_C, strict=True,
    )  # fmt: skip
    return Scores(
        n=checked.num_texts,
        loss=None if checked.loss_B is None else float(np.average(checked.loss_B, weights=checked.weight_B)),
        ece=expected_calibration_error(checked) if checked.weight_B is None else _value(checked, "ece"),
        roc_auc=macro_roc_auc(auc_C) if checked.weight_B is None else _defined(_value(checked, "roc_auc")),
        per_class=tuple(
            ClassScores(float(precision), float(recall), float(f1), int(support), auc)
            for precision, recall, f1, support, auc in columns
        ),
        confusion_CC=tuple(tuple(int(count) for count in row) for row in confusion_CC),
        votes_C=() if checked.votes_BC is None else tuple((checked.weights_B @ checked.shares_BC).tolist()),
        of_votes=_of_votes(checked),
        **{name: float(metric(weighed_CC)) for name, metric in COUNT_METRICS.items()},
    )


def _weighed(checked: Outcomes) -> IntArray | FloatArray:
    """[C, C] counts, each text by its weight where texts have any."""
    if checked.weight_B is None:
        return checked.confusion_CC
    cells_CC = np.zeros((checked.num_labels, checked.num_labels))
    np.add.at(cells_CC, (checked.label_B, checked.prediction_B), checked.weight_B)
    return cells_CC


def _value(checked: Outcomes, metric: str) -> float:
    """Of metrics that have a weighted form alone."""
    return float(checked.statistic(metric)(np.ones((1, checked.num_texts)))[0])


def _defined(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _of_votes(checked: Outcomes) -> tuple[tuple[str, float | None], ...]:
    if checked.votes_BC is None:
        return ()
    return tuple((name, _defined(_value(checked, name))) for name in VOTE_METRICS)
