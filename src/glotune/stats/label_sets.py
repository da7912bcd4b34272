"""Several labels for each text, each yes, no or not annotated, and their scores.

Equal to scikit-learn's ``multilabel-indicator`` scores with ``zero_division=0`` where everything is annotated. What is
not annotated counts nowhere: neither right nor wrong. A label that no text of a split is annotated with is left out of
the averages over labels; one that is annotated and applies to no text has F1 0, as there.

Shape letters: B texts, L labels, R weightings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glotune.errors import UserError
from glotune.recipe.kinds import KINDS, Kind
from glotune.stats.arrays import Answered, Outcomes, Statistic
from glotune.stats.calibration import expected_calibration_error
from glotune.stats.cells import Countable, Value
from glotune.stats.confusion import FloatArray, IntArray, ratio
from glotune.stats.curves import average_precision, roc_auc, weighted_roc_auc
from glotune.stats.resampling import FEW, FEW_OF_CLASS, NEAR_ONE

BLANK = -1
"""Stands for a label that is not annotated."""
_OF_ONE_LABEL = re.compile(r"(precision|recall|f1)\[(\d+)\]")
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, TRUE_NEGATIVE = range(4)


@dataclass(frozen=True, eq=False)
class LabelSets(Countable):
    """What a model said about a list of texts, beside the truth.

    Attributes:
        label_BL: int, 1 where a label applies, 0 where it doesn't, -1 where it is not annotated.
        probability_BL: float64, of each label by itself.
        answer_BL: bool, the labels that were answered.
        loss_B: mean binary cross-entropy over the annotated labels of a text, in nats.
        cluster_B: see `Answered`.
    """

    label_BL: IntArray
    probability_BL: FloatArray
    answer_BL: NDArray[np.bool_]
    loss_B: FloatArray | None = None
    cluster_B: IntArray | None = None

    @property
    def kind(self) -> Kind:
        """Several labels for each text."""
        return KINDS["multi_label"]

    @property
    def num_texts(self) -> int:
        """B."""
        return int(self.label_BL.shape[0])

    @property
    def num_labels(self) -> int:
        """L."""
        return int(self.label_BL.shape[1])

    @property
    def is_finite(self) -> bool:
        """False after a divergence."""
        losses_are_finite = self.loss_B is None or bool(np.isfinite(self.loss_B).all())
        return losses_are_finite and bool(np.isfinite(self.probability_BL).all())

    @cached_property
    def is_known_BL(self) -> NDArray[np.bool_]:
        """Which labels are annotated."""
        return np.asarray(self.label_BL != BLANK)

    @cached_property
    def is_known_L(self) -> NDArray[np.bool_]:
        """Which labels are annotated anywhere here."""
        return np.asarray(self.is_known_BL.any(axis=0))

    @cached_property
    def is_wrong_BL(self) -> NDArray[np.bool_]:
        """Which annotated labels were answered wrongly."""
        return np.asarray(self.is_known_BL & (self.answer_BL != (self.label_BL == 1)))

    @cached_property
    def counts_L4(self) -> FloatArray:
        """Of each label: true positives, false positives, false negatives, true negatives."""
        return self.cells_BM.sum(axis=0)[: 4 * self.num_labels].reshape(self.num_labels, 4)

    # ---- scores ---------------------------------------------------------------------------------------

    @cached_property
    def cells_BM(self) -> FloatArray:
        """[B, 4 L + 3]: the four counts of each label, F1 of the text, whether all of it is right, and 1."""
        true, answered, known = self.label_BL == 1, self.answer_BL, self.is_known_BL
        counts_BL4 = np.stack([true & answered, answered & ~true, true & ~answered, ~true & ~answered], axis=-1)
        counts_BL4 = (counts_BL4 & known[..., None]).astype(np.float64)
        found_B = counts_BL4[..., TRUE_POSITIVE].sum(axis=1)
        wrong_B = (counts_BL4[..., FALSE_POSITIVE] + counts_BL4[..., FALSE_NEGATIVE]).sum(axis=1)
        f1_B = ratio(2.0 * found_B, 2.0 * found_B + wrong_B)
        rest_B3 = np.stack([f1_B, (wrong_B == 0).astype(np.float64), np.ones(self.num_texts)], axis=-1)
        return np.concatenate([counts_BL4.reshape(self.num_texts, -1), rest_B3], axis=1)

    def value(self, metric: str) -> Value | None:
        """The scores that are functions of counts."""
        one = _OF_ONE_LABEL.fullmatch(metric)
        if one is not None:
            label = int(one[2])
            if label >= self.num_labels:
                raise UserError(f"metric {metric!r}", expected=f"a label from 0 to {self.num_labels - 1}")
            return lambda cells: _BY_LABEL[one[1]](self._counts(cells))[..., label]
        if metric.startswith(("macro_", "weighted_")) and metric.partition("_")[2] in _BY_LABEL:
            return self._averaged(metric)
        if metric == "micro_f1":
            return lambda cells: f1_of(self._counts(cells).sum(axis=-2))
        if metric == "hamming_loss":
            return lambda cells: _hamming(self._counts(cells).sum(axis=-2))
        if metric in ("samples_f1", "subset_accuracy"):
            column = -3 if metric == "samples_f1" else -2
            return lambda cells: ratio(cells[..., column], cells[..., -1])
        return None

    def _averaged(self, metric: str) -> Value:
        average, _, of = metric.partition("_")
        known_L = self.is_known_L

        def value(cells: FloatArray) -> FloatArray:
            counts = self._counts(cells)[..., known_L, :]
            scores = _BY_LABEL[of](counts)
            if average == "macro":
                return np.asarray(scores.mean(axis=-1), dtype=np.float64)
            support = counts[..., TRUE_POSITIVE] + counts[..., FALSE_NEGATIVE]
            return ratio((scores * support).sum(axis=-1), support.sum(axis=-1))

        return value

    def _counts(self, cells: FloatArray) -> FloatArray:
        return cells[..., : 4 * self.num_labels].reshape(*cells.shape[:-1], self.num_labels, 4)

    def ranked_statistic(self, metric: str) -> Statistic | None:
        """Mean average precision, and mean AUC, over the labels that some texts have."""
        weighted = {"average_precision": _weighted_average_precision, "roc_auc": weighted_roc_auc}
        if metric == "ece":
            cells = self.stated()
            text_of_cell_N = np.flatnonzero(self.is_known_BL) // self.num_labels
            inner = cells.statistic("ece")
            return lambda weights_RB: inner(weights_RB[:, text_of_cell_N])
        if metric not in weighted:
            return None

        def value(weights_RB: FloatArray) -> FloatArray:
            found = [
                weighted[metric](positive_N, score_N, weights_RB[:, known_B])
                for _, positive_N, score_N, known_B in self._columns()
                if positive_N.any() and (metric != "roc_auc" or not positive_N.all())
            ]
            return _mean_of_known(np.array(found).reshape(-1, len(weights_RB)))

        return value

    def _columns(self) -> Iterator[tuple[int, NDArray[np.bool_], FloatArray, NDArray[np.bool_]]]:
        """Of each label that is annotated: its place, which of its texts it applies to, their probabilities, and [B]
        which texts they are.
        """
        for place in np.flatnonzero(self.is_known_L).tolist():
            known_B = self.is_known_BL[:, place]
            yield place, self.label_BL[known_B, place] == 1, self.probability_BL[known_B, place], known_B

    def rankings(self) -> list[tuple[int, NDArray[np.bool_], FloatArray]]:
        """Of each label that is annotated: its place, which texts it applies to, and their probabilities."""
        return [(place, positive_N, score_N) for place, positive_N, score_N, _ in self._columns()]

    @property
    def support(self) -> dict[int, int]:
        """Of every label that is annotated here."""
        counts_L = self.counts_L4[:, [TRUE_POSITIVE, FALSE_NEGATIVE]].sum(axis=1)
        return {place: int(counts_L[place]) for place in np.flatnonzero(self.is_known_L).tolist()}

    def stated(self) -> Outcomes:
        """Each annotated label of each text as a question of its own, answered no (0) or yes (1): for calibration."""
        known_N = np.flatnonzero(self.is_known_BL)
        label_N = self.label_BL.ravel()[known_N].astype(np.int64)
        yes_N = self.probability_BL.ravel()[known_N]
        return Outcomes(label_N, np.stack([1.0 - yes_N, yes_N], axis=1))

    def values(self) -> dict[str, float | None]:
        """Every score; average precision and AUC are None where no label applies to some texts and not to others."""
        self.require_finite()
        total = self.cells_BM.sum(axis=0)
        found: dict[str, float | None] = {}
        for name in (*self.kind.counted, "weighted_precision", "weighted_recall"):
            value = self.value(name)
            if value is not None:  # all but average precision
                found[name] = float(value(total))
        precisions = [average_precision(positive, score) for _, positive, score in self.rankings() if positive.any()]
        areas = [roc_auc(positive, score) for _, positive, score in self.rankings()]
        known = [area for area in areas if area is not None]
        return {
            **found,
            "average_precision": float(np.mean(precisions)) if precisions else None,
            "roc_auc": float(np.mean(known)) if known else None,
            "ece": expected_calibration_error(self.stated()),
            "loss": None if self.loss_B is None else float(self.loss_B.mean()),
        }

    def by_label(self, labels: Sequence[str]) -> dict[str, dict[str, float]]:
        """Precision, recall, F1, counts and average precision; labels that are not annotated here are left out."""
        _require_names(labels, self.num_labels)
        found = {}
        for place, positive_N, score_N in self.rankings():
            counts = self.counts_L4[place]
            found[labels[place]] = {
                **{name: float(of(counts)) for name, of in _BY_LABEL.items()},
                "support": float(positive_N.sum()),
                "annotated": float(len(positive_N)),
                "predicted": float(counts[TRUE_POSITIVE] + counts[FALSE_POSITIVE]),
                **({"average_precision": average_precision(positive_N, score_N)} if positive_N.any() else {}),
            }
        return found

    # ---- for intervals and comparisons ----------------------------------------------------------------

    def unseen_QM(self, metric: str, share: float) -> FloatArray:
        """Half a text found and half a text missed of each rare label, and as many falsely found and rightly left."""
        size = self.cells_BM.shape[1]
        if metric in ("samples_f1", "subset_accuracy", "hamming_loss", "micro_f1"):
            right = float(self.cells_BM[:, -2].sum())
            if min(right, self.num_texts - right) * share >= FEW:
                return np.zeros((0, size))
            return self._half_texts()
        one = _OF_ONE_LABEL.fullmatch(metric)
        few = []
        for label in np.flatnonzero(self.is_known_L).tolist() if one is None else [int(one[2])]:
            found, false, missed, _ = self.counts_L4[label] * share
            if min(found, missed, false) < FEW_OF_CLASS and found + missed > 0:
                few.append(label)
        rows_QM = np.zeros((4 * len(few), size))
        for place, label in enumerate(few):
            for kind in range(4):
                rows_QM[4 * place + kind, 4 * label + kind] = 1.0
        return rows_QM

    def hangs_on_few(self, metric: str) -> bool:
        """A label of few texts, or one that ranks them nearly without a mistake: a bootstrap makes none either."""
        if metric != "average_precision":
            return False
        return any(
            positive_N.sum() < FEW_OF_CLASS or average_precision(positive_N, score_N) > NEAR_ONE
            for _, positive_N, score_N in self.rankings()
            if positive_N.any()
        )

    def with_unseen(self, copies: int, rng: np.random.Generator) -> LabelSets:
        """Texts that have a label and texts that don't behind these, each annotated with it alone, each of them
        answered as a text drawn at random is."""
        size = 2 * copies
        labels_UL = np.full((size * self.num_labels, self.num_labels), BLANK)
        probability_UL = np.full(labels_UL.shape, 0.5)
        for place, _, score_N, _ in self._columns():
            rows = slice(place * size, (place + 1) * size)
            labels_UL[rows, place] = np.arange(size) % 2
            probability_UL[rows, place] = rng.choice(score_N, size)
        return LabelSets(
            np.concatenate([self.label_BL, labels_UL]),
            np.concatenate([self.probability_BL, probability_UL]),
            np.concatenate([self.answer_BL, probability_UL >= 0.5]),
        )

    def _half_texts(self) -> FloatArray:
        """[2, M] a text like the mean one whose labels are all right, and one of which a label is wrong."""
        mean_M = self.cells_BM.mean(axis=0)
        right_M, wrong_M = mean_M.copy(), mean_M.copy()
        counts_L4 = mean_M[: 4 * self.num_labels].reshape(-1, 4)
        true_L, false_L = counts_L4[:, [0, 2]].sum(axis=1), counts_L4[:, [1, 3]].sum(axis=1)
        nothing_L = np.zeros_like(true_L)
        right_M[: counts_L4.size] = np.stack([true_L, nothing_L, nothing_L, false_L], axis=1).ravel()
        wrong_M[: counts_L4.size] = np.stack([nothing_L, false_L, true_L, nothing_L], axis=1).ravel() / self.num_labels
        right_M[-3:], wrong_M[-3:] = (1.0, 1.0, 1.0), (0.0, 0.0, 1.0)
        return np.stack([right_M, wrong_M])

    def answers_the_same(self, other: Answered) -> bool:
        """Whether the annotations are the same."""
        return isinstance(other, LabelSets) and np.array_equal(self.label_BL, other.label_BL)

    def clustered(self, cluster_B: IntArray | None) -> LabelSets:
        """The same texts with other clusters."""
        return replace(self, cluster_B=cluster_B)


def label_sets(
    label_BL: ArrayLike,
    probability_BL: ArrayLike,
    answer_BL: ArrayLike,
    loss_B: ArrayLike | None = None,
    cluster_B: ArrayLike | None = None,
) -> LabelSets:
    """Check the arrays against each other and gather them; values that are not finite are let through.

    Raises:
        UserError: shapes differ, no text, or a label that is none of 1, 0 and -1.
    """
    labels, probabilities = np.asarray(label_BL, dtype=np.int64), np.asarray(probability_BL, dtype=np.float64)
    answers = np.asarray(answer_BL, dtype=np.bool_)
    if labels.ndim != 2 or labels.shape != probabilities.shape or labels.shape != answers.shape or not labels.size:
        raise UserError(
            f"labels of shape {labels.shape}, probabilities {probabilities.shape}, answers {answers.shape}",
            expected="[B, L] each, of at least one text",
            remedy="Read all from the same prediction records",
        )
    if not np.isin(labels, (1, 0, BLANK)).all():
        raise UserError("a label other than 1, 0 and -1", expected="1: applies, 0: doesn't, -1: not annotated")
    return LabelSets(
        labels,
        probabilities,
        answers,
        None if loss_B is None else np.asarray(loss_B, dtype=np.float64),
        None if cluster_B is None else np.asarray(cluster_B, dtype=np.int64),
    )


def f1_of(counts: FloatArray) -> FloatArray:
    """[...] of counts [..., 4]."""
    found = 2.0 * counts[..., TRUE_POSITIVE]
    return ratio(found, found + counts[..., FALSE_POSITIVE] + counts[..., FALSE_NEGATIVE])


def _precision(counts: FloatArray) -> FloatArray:
    return ratio(counts[..., TRUE_POSITIVE], counts[..., TRUE_POSITIVE] + counts[..., FALSE_POSITIVE])


def _recall(counts: FloatArray) -> FloatArray:
    return ratio(counts[..., TRUE_POSITIVE], counts[..., TRUE_POSITIVE] + counts[..., FALSE_NEGATIVE])


def _hamming(counts: FloatArray) -> FloatArray:
    return ratio(counts[..., FALSE_POSITIVE] + counts[..., FALSE_NEGATIVE], counts.sum(axis=-1))


_BY_LABEL = {"precision": _precision, "recall": _recall, "f1": f1_of}


def _weighted_average_precision(
    positive_N: NDArray[np.bool_], score_N: FloatArray, weights_RN: FloatArray
) -> FloatArray:
    """[R] average precision under each weighting; NaN where no text with the label is drawn.

    Precision is asked for at the P texts with the label alone, each at the last text of its tie.
    """
    order_N = np.argsort(-score_N, kind="stable")
    last_N = np.searchsorted(-score_N[order_N], -score_N[order_N], side="right") - 1
    place_P = np.flatnonzero(positive_N[order_N])
    own_RP = weights_RN[:, order_N[place_P]]
    last_P = last_N[place_P]
    all_RP = np.cumsum(weights_RN[:, order_N], axis=1)[:, last_P]
    found_RP = np.cumsum(own_RP, axis=1)[:, np.searchsorted(place_P, last_P, side="right") - 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((own_RP * ratio(found_RP, all_RP)).sum(axis=1) / own_RP.sum(axis=1), dtype=np.float64)


def _mean_of_known(scores_LR: FloatArray) -> FloatArray:
    """[R] the mean over the labels that some drawn texts have, as `values` takes it; NaN where there is none."""
    is_known_LR = np.isfinite(scores_LR)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(is_known_LR, scores_LR, 0.0).sum(axis=0) / is_known_LR.sum(axis=0))


def _require_names(labels: Sequence[str], count: int) -> None:
    if len(labels) != count:
        raise UserError(f"{len(labels)} label names for {count} labels", expected="one name for each, in their order")
