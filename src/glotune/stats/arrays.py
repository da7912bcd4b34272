"""The arrays that every metric reads, and the one check that they fit together.

Shape letters: B texts, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glotune.errors import UserError
from glotune.recipe.kinds import KINDS, Kind
from glotune.stats.confusion import FloatArray, IntArray, confusion_matrix

# Probabilities come from a float32 softmax; a row of 10 classes sums to 1 within about 1e-6.
SUM_TOLERANCE = 1e-3


Statistic = Callable[[FloatArray], FloatArray]
"""Weights [R, B] -> the number under each weighting [R]; NaN where it is undefined."""


class Answered(ABC):
    """What a model said about a list of texts, beside the truth, whatever the task: what every interval is made from.

    One class (`Outcomes`), several labels (`glotune.stats.label_sets.LabelSets`) or scores
    (`glotune.stats.ratings.Ratings`) for each text.
    """

    loss_B: FloatArray | None
    """Loss per text, or None where it was not recorded."""
    cluster_B: IntArray | None
    """One number for texts that belong together, here and in the other languages of the split
    (`glotune.stats.clusters`); None where every text stands for itself."""

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """Of the task."""

    @property
    @abstractmethod
    def num_texts(self) -> int:
        """B."""

    @property
    @abstractmethod
    def num_labels(self) -> int:
        """C classes, or L labels or scores."""

    @property
    @abstractmethod
    def is_finite(self) -> bool:
        """False after a divergence: an answer or a loss is NaN or infinite."""

    @abstractmethod
    def values(self) -> dict[str, float | None]:
        """Metric -> value, by the names of `glotune.stats.traits`; None where one is undefined.

        Raises:
            UserError: an answer or loss is not finite: a diverged model has a verdict, not scores.
        """

    @abstractmethod
    def by_label(self, labels: Sequence[str]) -> dict[str, dict[str, float]]:
        """Label name -> what is told of it alone; raises UserError where there is not one name for each."""

    @abstractmethod
    def statistic(self, metric: str) -> Statistic:
        """The weighted form of a metric on these texts.

        Raises:
            UserError: no such metric, or the loss was not recorded.
        """

    @abstractmethod
    def answers_the_same(self, other: Answered) -> bool:
        """Whether both are about texts with the same targets in the same order."""

    @abstractmethod
    def clustered(self, cluster_B: IntArray | None) -> Answered:
        """The same texts with other clusters."""

    @property
    @abstractmethod
    def support(self) -> dict[int, int]:
        """Label -> how many texts have it, of every label that texts here say anything of; empty for scores."""

    @abstractmethod
    def rankings(self) -> list[tuple[int, NDArray[np.bool_], FloatArray]]:
        """Of each label: its number, which of the texts that say anything of it have it, the probability of each."""

    @abstractmethod
    def stated(self) -> Outcomes | None:
        """Answers of one class whose confidence can be held against what is right: for calibration; None for scores."""

    @property
    def counts_alike(self) -> bool:
        """Whether every text counts once, so that counts of texts are enough for metrics of counts."""
        return True

    def require_finite(self) -> None:
        """Raises UserError where an answer or a loss is not finite."""
        if not self.is_finite:
            raise UserError(
                f"answers to some of {self.num_texts} texts are not finite, or a loss is not",
                expected="finite numbers",
                remedy="The training diverged: lower optimizer.learning_rate, or raise schedule.warmup_ratio",
            )


def lacking_class(answered: Mapping[str, Answered]) -> str | None:
    """A language where a class has no text, and counts as F1 0 in macro scores by convention; None without any."""
    return next((code for code, each in answered.items() if not all(each.support.values())), None)


def loss_statistic(answered: Answered) -> Statistic:
    """The mean loss; raises UserError where losses were not recorded."""
    if answered.loss_B is None:
        raise UserError("no losses", expected="a loss for each text", remedy="Predict these texts again")
    losses_B = answered.loss_B
    return lambda weights_RB: weights_RB @ losses_B / weights_RB.sum(axis=1)


@dataclass(frozen=True, eq=False)
class Outcomes(Answered):
    """What a model said about a list of texts, beside the truth, where each is of one class.

    Attributes:
        label_B: true label ids, 0 .. C-1.
        probabilities_BC: float64, each row sums to 1.
        loss_B: cross-entropy per text in nats, or None where it was not recorded.
        cluster_B: one number for texts that belong together, here and in the other languages of the split
            (`glotune.stats.clusters`); None where every text stands for itself.
        votes_BC: annotators' votes for each class, of which the label is the one with most; None without votes.
        answer_B: the class ids that were answered where thresholds decide; None: the most probable classes.
        weight_B: how much each text counts in metrics, above 0; None: once.
    """

    label_B: IntArray
    probabilities_BC: FloatArray
    loss_B: FloatArray | None = None
    cluster_B: IntArray | None = None
    votes_BC: FloatArray | None = None
    answer_B: IntArray | None = None
    weight_B: FloatArray | None = None

    @property
    def kind(self) -> Kind:
        """One class for each text."""
        return KINDS["single_label"]

    def values(self) -> dict[str, float | None]:
        """See `glotune.stats.scores.Scores`."""
        from glotune.stats.scores import score_outcomes

        return score_outcomes(self).values()

    def by_label(self, labels: Sequence[str]) -> dict[str, dict[str, float]]:
        """Precision, recall, F1, support and AUC of each class."""
        from glotune.stats.scores import score_outcomes

        return score_outcomes(self).class_values(labels)

    def statistic(self, metric: str) -> Statistic:
        """See `glotune.stats.text_bootstrap.statistic_of`."""
        from glotune.stats.text_bootstrap import statistic_of

        return statistic_of(metric, self)

    def answers_the_same(self, other: Answered) -> bool:
        """Whether the classes are as many, and labels and weights the same."""
        return (
            isinstance(other, Outcomes)
            and self.num_labels == other.num_labels
            and np.array_equal(self.label_B, other.label_B)
            and (self.weight_B is None) == (other.weight_B is None)
            and (self.weight_B is None or np.array_equal(self.weight_B, np.asarray(other.weight_B)))
        )

    def by_probability(self) -> Outcomes:
        """The same texts answered by the most probable class."""
        return replace(self, answer_B=None)

    def clustered(self, cluster_B: IntArray | None) -> Outcomes:
        """The same texts with other clusters."""
        return replace(self, cluster_B=cluster_B)

    @property
    def support(self) -> dict[int, int]:
        """Of every class."""
        return dict(enumerate(self.confusion_CC.sum(axis=1).tolist()))

    def rankings(self) -> list[tuple[int, NDArray[np.bool_], FloatArray]]:
        """One class against the rest."""
        return [(index, self.label_B == index, self.probabilities_BC[:, index]) for index in range(self.num_labels)]

    def stated(self) -> Outcomes:
        """Themselves."""
        return self

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

    @property
    def counts_alike(self) -> bool:
        """Unless texts have weights."""
        return self.weight_B is None

    @property
    def weights_B(self) -> FloatArray:
        """How much each text counts in metrics."""
        return np.ones(self.num_texts) if self.weight_B is None else self.weight_B

    def at(self, places_B: NDArray[np.bool_]) -> Outcomes:
        """The texts of which this is true."""
        parts: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        return Outcomes(**parts | {name: part[places_B] for name, part in parts.items() if part is not None})

    @cached_property
    def shares_BC(self) -> FloatArray:
        """Each class's share of a text's votes; without votes 1 for its label."""
        if self.votes_BC is None:
            return np.eye(self.num_labels)[self.label_B]
        return np.asarray(self.votes_BC / self.votes_BC.sum(axis=1, keepdims=True), dtype=np.float64)

    @property
    def tied(self) -> int:
        """Texts with as many votes for another class as for their label."""
        if self.votes_BC is None:
            return 0
        return int(((self.votes_BC == self.votes_BC.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum())

    @cached_property
    def prediction_B(self) -> IntArray:
        """The label that was answered."""
        return self.most_probable_B if self.answer_B is None else self.answer_B

    @cached_property
    def most_probable_B(self) -> IntArray:
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
    votes_BC: ArrayLike | None = None,
    answer_B: ArrayLike | None = None,
    weight_B: ArrayLike | None = None,
) -> Outcomes:
    """Check the arrays against each other and gather them.

    Non-finite values are let through: the verdict names a divergence, the scores refuse it.

    Raises:
        UserError: lengths differ, no text, fewer than two classes, a label outside 0 .. C-1,
            a row of probabilities that does not sum to 1, votes that are negative or sum to 0, or an answer that is no
            class.
    """
    labels = np.asarray(label_B, dtype=np.int64)
    probabilities = np.asarray(probabilities_BC, dtype=np.float64)
    losses = None if loss_B is None else np.asarray(loss_B, dtype=np.float64)
    clusters = None if cluster_B is None else np.asarray(cluster_B, dtype=np.int64)
    votes = None if votes_BC is None else np.asarray(votes_BC, dtype=np.float64)
    _check_shapes(labels, probabilities, losses, clusters)
    _check_values(labels, probabilities)
    if votes is not None:
        _check_votes(votes, probabilities.shape)
    answers = None if answer_B is None else np.asarray(answer_B, dtype=np.int64)
    if answers is not None and (
        answers.shape != labels.shape or not np.isin(answers, range(probabilities.shape[1])).all()
    ):
        raise UserError(
            f"answers of shape {answers.shape}, or one that is no class", expected="a class id for each text"
        )
    weights = None if weight_B is None else np.asarray(weight_B, dtype=np.float64)
    if weights is not None and (weights.shape != labels.shape or not (np.isfinite(weights) & (weights > 0)).all()):
        raise UserError(
            f"weights of shape {weights.shape}, or one that is not above 0", expected="one above 0 for each text"
        )
    return Outcomes(labels, probabilities, losses, clusters, votes, answers, weights)


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


def _check_votes(votes: FloatArray, shape: tuple[int, ...]) -> None:
    fit = votes.shape == shape and np.isfinite(votes).all() and (votes >= 0).all() and (votes.sum(axis=1) > 0).all()
    if not fit:
        raise UserError(
            found=f"votes of shape {votes.shape} for probabilities of shape {shape}, or some that are no votes",
            expected="finite numbers of at least 0 for each class, at least one vote for each text",
            remedy="read both from the same prediction records",
        )


def softmax(logits_NC: FloatArray, *, in_place: bool = False) -> FloatArray:
    """Probabilities_NC; `in_place`: over the logits, which are needed no more."""
    # Of many texts, each copy is as large as all that is kept of them.
    shares = np.subtract(logits_NC, logits_NC.max(axis=1, keepdims=True), out=logits_NC if in_place else None)
    np.exp(shares, out=shares)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def sigmoid(logits: FloatArray) -> FloatArray:
    """Probabilities, each by itself; no overflow in either direction."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)), dtype=np.float64)
