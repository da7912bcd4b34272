"""Scores of texts, one or several for each, any of which may be missing: how near a model's come to them.

Correlations and errors equal SciPy's and scikit-learn's. What is told of a text with several scores is the mean over
them, each over the texts that have it. Where scores are levels (0, 1, 2, 3), agreement is told too: quadratic kappa
(Cohen 1968), answers rounded to the nearest level.

Shape letters: B texts, L scores, K levels, M numbers of a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glotune.errors import UserError
from glotune.recipe.kinds import KINDS, Kind
from glotune.stats.arrays import Answered, Outcomes, Statistic
from glotune.stats.cells import Countable, Value
from glotune.stats.confusion import FloatArray, IntArray, ratio

MOMENTS = 7
"""Of each score: texts, sums of truth and answer, of their squares and product, and of the absolute error."""
N, X, Y, XX, YY, XY, ABSOLUTE = range(MOMENTS)
_OF_ONE_SCORE = re.compile(r"(pearson|spearman|kappa|rmse|mae)\[(\d+)\]")
NOTHING_LEFT = 1e-12
"""Share of a sum of squares that rounding leaves where all values are one."""


@dataclass(frozen=True, eq=False)
class Ratings(Countable):
    """What a model said about a list of texts, beside the truth.

    Attributes:
        truth_BL: float64, NaN where there is no score.
        answer_BL: float64, in the same units.
        loss_B: mean squared error over the scores of a text, in units of their variance over the training texts.
        cluster_B: see `Answered`.
        levels: the values that scores take, ascending; empty where they are any numbers.
    """

    truth_BL: FloatArray
    answer_BL: FloatArray
    loss_B: FloatArray | None = None
    cluster_B: IntArray | None = None
    levels: tuple[float, ...] = ()

    @property
    def kind(self) -> Kind:
        """Scores."""
        return KINDS["score"]

    @property
    def num_texts(self) -> int:
        """B."""
        return int(self.truth_BL.shape[0])

    @property
    def num_labels(self) -> int:
        """L."""
        return int(self.truth_BL.shape[1])

    @property
    def is_finite(self) -> bool:
        """False after a divergence."""
        losses_are_finite = self.loss_B is None or bool(np.isfinite(self.loss_B).all())
        return losses_are_finite and bool(np.isfinite(self.answer_BL).all())

    @cached_property
    def is_known_BL(self) -> NDArray[np.bool_]:
        """Which scores there are."""
        return np.asarray(~np.isnan(self.truth_BL))

    @cached_property
    def known_scores(self) -> list[int]:
        """The scores that some text here has."""
        found: list[int] = np.flatnonzero(self.is_known_BL.any(axis=0)).tolist()
        return found

    @cached_property
    def level_BL(self) -> tuple[IntArray, IntArray]:
        """Places of truth and answer among the levels, the nearest one."""
        levels = np.array(self.levels)
        middles = (levels[1:] + levels[:-1]) / 2
        return tuple(np.searchsorted(middles, np.nan_to_num(each)) for each in (self.truth_BL, self.answer_BL))  # type: ignore[return-value]

    @cached_property
    def cells_BM(self) -> FloatArray:
        """[B, L * (7 + K * K)] the moments of each score, then the table of levels of each.

        Moments are of distances from the mean truth: sums of squares of numbers far from 0 would lose their digits.
        """
        known_L = np.maximum(self.is_known_BL.sum(axis=0), 1)  # of a score that no text has, the centre is 0
        centre_L = np.where(self.is_known_BL, self.truth_BL, 0.0).sum(axis=0) / known_L
        x = np.where(self.is_known_BL, self.truth_BL - centre_L, 0.0)
        y = np.where(self.is_known_BL, self.answer_BL - centre_L, 0.0)
        one = self.is_known_BL.astype(np.float64)
        moments_BL7 = np.stack([one, x, y, x * x, y * y, x * y, np.abs(x - y)], axis=-1)
        parts = [moments_BL7.reshape(self.num_texts, -1)]
        if self.levels:
            size = len(self.levels)
            true_BL, answered_BL = self.level_BL
            table_BLK = np.eye(size * size)[true_BL * size + answered_BL] * one[..., None]
            parts.append(table_BLK.reshape(self.num_texts, -1))
        return np.concatenate(parts, axis=1)

    def value(self, metric: str) -> Value | None:
        """The scores that are functions of moments or of the table of levels."""
        one = _OF_ONE_SCORE.fullmatch(metric)
        name, places = (metric, self.known_scores) if one is None else (one[1], [int(one[2])])
        if name in _OF_MOMENTS:
            return lambda cells: _OF_MOMENTS[name](self._moments(cells)[..., places, :]).mean(axis=-1)
        if name == "kappa" and self.levels:
            return lambda cells: quadratic_kappa(self._tables(cells)[..., places, :, :], self.levels).mean(axis=-1)
        return None

    def _moments(self, cells: FloatArray) -> FloatArray:
        return cells[..., : MOMENTS * self.num_labels].reshape(*cells.shape[:-1], self.num_labels, MOMENTS)

    def _tables(self, cells: FloatArray) -> FloatArray:
        size = len(self.levels)
        return cells[..., MOMENTS * self.num_labels :].reshape(*cells.shape[:-1], self.num_labels, size, size)

    def ranked_statistic(self, metric: str) -> Statistic | None:
        """Spearman's correlation, its ranks taken anew under each weighting."""
        one = _OF_ONE_SCORE.fullmatch(metric)
        name, places = (metric, self.known_scores) if one is None else (one[1], [int(one[2])])
        if name != "spearman":
            return None
        columns = [(self.is_known_BL[:, place], place) for place in places]

        def value(weights_RB: FloatArray) -> FloatArray:
            found = [
                weighted_spearman(self.truth_BL[known, place], self.answer_BL[known, place], weights_RB[:, known])
                for known, place in columns
            ]
            return np.asarray(np.mean(found, axis=0), dtype=np.float64)

        return value

    def values(self) -> dict[str, float | None]:
        """Every score; a correlation is None where truth or answers are all one number."""
        self.require_finite()
        found = {name: self._told(name) for name in ("pearson", "spearman", "kappa", "rmse", "mae")}
        return {**found, "loss": None if self.loss_B is None else float(self.loss_B.mean())}

    def _told(self, metric: str) -> float | None:
        if metric.startswith("kappa") and not self.levels:
            return None
        value = float(self.statistic(metric)(np.ones((1, self.num_texts)))[0])
        return value if np.isfinite(value) else None

    def by_label(self, labels: Sequence[str]) -> dict[str, dict[str, float]]:
        """Texts, correlations, agreement and errors of each score; scores that no text here has are left out."""
        if len(labels) != self.num_labels:
            raise UserError(f"{len(labels)} names for {self.num_labels} scores", expected="one name for each")
        found = {}
        for place in self.known_scores:
            told = {name: self._told(f"{name}[{place}]") for name in ("pearson", "spearman", "kappa", "rmse", "mae")}
            told["n"] = float(self.is_known_BL[:, place].sum())
            found[labels[place]] = {name: value for name, value in told.items() if value is not None}
        return found

    def unseen_QM(self, metric: str, share: float) -> FloatArray:
        """None: an error is a number, and the bootstrap has as many of them as there are texts."""
        return np.zeros((0, self.cells_BM.shape[1]))

    def hangs_on_few(self, metric: str) -> bool:
        """No, as above."""
        return False

    def with_unseen(self, copies: int, rng: np.random.Generator) -> Ratings:
        """These texts alone, as above."""
        return self

    @property
    def support(self) -> dict[int, int]:
        """None: a score is no class."""
        return {}

    def rankings(self) -> list[tuple[int, NDArray[np.bool_], FloatArray]]:
        """None: a score is no class."""
        return []

    def stated(self) -> Outcomes | None:
        """None: scores are stated without a confidence."""
        return None

    def answers_the_same(self, other: Answered) -> bool:
        """Whether the scores are the same."""
        return isinstance(other, Ratings) and np.array_equal(self.truth_BL, other.truth_BL, equal_nan=True)

    def clustered(self, cluster_B: IntArray | None) -> Ratings:
        """The same texts with other clusters."""
        return replace(self, cluster_B=cluster_B)


def ratings(
    truth_BL: ArrayLike,
    answer_BL: ArrayLike,
    loss_B: ArrayLike | None = None,
    cluster_B: ArrayLike | None = None,
    levels: Sequence[float] = (),
) -> Ratings:
    """Check the arrays against each other and gather them; answers that are not finite are let through.

    Raises:
        UserError: shapes differ, no text, or no score at all.
    """
    truth, answers = np.asarray(truth_BL, dtype=np.float64), np.asarray(answer_BL, dtype=np.float64)
    if truth.ndim != 2 or truth.shape != answers.shape or not truth.size or np.isnan(truth).all():
        raise UserError(
            f"scores of shape {truth.shape}, answers of shape {answers.shape}",
            expected="[B, L] each, with at least one score",
            remedy="Read both from the same prediction records",
        )
    return Ratings(
        truth,
        answers,
        None if loss_B is None else np.asarray(loss_B, dtype=np.float64),
        None if cluster_B is None else np.asarray(cluster_B, dtype=np.int64),
        tuple(levels),
    )


def _pearson(moments: FloatArray) -> FloatArray:
    n = moments[..., N]
    covariance = n * moments[..., XY] - moments[..., X] * moments[..., Y]
    spread_x = n * moments[..., XX] - moments[..., X] ** 2
    spread_y = n * moments[..., YY] - moments[..., Y] ** 2
    flat = (spread_x <= NOTHING_LEFT * n * moments[..., XX]) | (spread_y <= NOTHING_LEFT * n * moments[..., YY])
    with np.errstate(divide="ignore", invalid="ignore"):
        found = covariance / np.sqrt(spread_x * spread_y)
    return np.where(flat, np.nan, np.clip(found, -1.0, 1.0))


def _rmse(moments: FloatArray) -> FloatArray:
    squares = moments[..., XX] - 2 * moments[..., XY] + moments[..., YY]
    return np.sqrt(ratio(np.maximum(squares, 0.0), moments[..., N]))


def _mae(moments: FloatArray) -> FloatArray:
    return ratio(moments[..., ABSOLUTE], moments[..., N])


_OF_MOMENTS: dict[str, Callable[[FloatArray], FloatArray]] = {"pearson": _pearson, "rmse": _rmse, "mae": _mae}


def quadratic_kappa(tables: FloatArray, levels: Sequence[float]) -> FloatArray:
    """[...] of tables [..., K, K] (rows the truth): 1 minus the squared distance over that of chance (Cohen 1968).

    Distances are between the levels' places, as in scikit-learn's `cohen_kappa_score`; NaN where all is one level.
    """
    places = np.arange(len(levels), dtype=np.float64)
    distance = (places[:, None] - places[None, :]) ** 2
    total = tables.sum(axis=(-2, -1))
    chance = tables.sum(axis=-1)[..., :, None] * tables.sum(axis=-2)[..., None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = (chance * distance).sum(axis=(-2, -1)) / total
        found = 1.0 - (tables * distance).sum(axis=(-2, -1)) / expected
    return np.where(expected > 0, found, np.nan)


def weighted_spearman(truth_N: FloatArray, answer_N: FloatArray, weights_RN: FloatArray) -> FloatArray:
    """[R] rank correlation under each weighting of the texts, ties at their middle rank."""
    x, y = (_weighted_ranks(values, weights_RN) for values in (truth_N, answer_N))
    n_R = weights_RN.sum(axis=1, keepdims=True)
    x, y = (each - (weights_RN * each).sum(axis=1, keepdims=True) / n_R for each in (x, y))
    spread = (weights_RN * x * x).sum(axis=1) * (weights_RN * y * y).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (weights_RN * x * y).sum(axis=1) / np.sqrt(spread)
    return np.where(spread > 0, found, np.nan)


def _weighted_ranks(values_N: FloatArray, weights_RN: FloatArray) -> FloatArray:
    """[R, N] the middle of the weights up to each text, those of its ties counting half."""
    _, level_N = np.unique(values_N, return_inverse=True)
    order_N = np.argsort(level_N, kind="stable")
    starts = np.flatnonzero(np.diff(level_N[order_N], prepend=-1))
    at_level_RK = np.add.reduceat(weights_RN[:, order_N], starts, axis=1)
    return np.asarray((np.cumsum(at_level_RK, axis=1) - at_level_RK / 2)[:, level_N], dtype=np.float64)
