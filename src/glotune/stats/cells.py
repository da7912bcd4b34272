"""Scores of targets that are more than one class, as functions of numbers that add up over texts.

A text contributes a row of numbers (counts of right and wrong answers by label, or moments of true and stated scores);
a score is a function of their sum. So a resample is a product of weights and rows, a text left out a difference of
sums, and one vectorised formula serves values, intervals, influences and tests, as confusion matrices do for one class.

Shape letters: B texts, G clusters, M numbers of a text, P lists of answers, R resamples.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from glotune.errors import UserError, did_you_mean
from glotune.stats.arrays import Answered, Statistic, loss_statistic
from glotune.stats.confusion import FloatArray, IntArray
from glotune.stats.resampling import RESAMPLES, Joint
from glotune.stats.text_bootstrap import (
    JACKKNIFE_LIMIT,
    UNSEEN_ANSWERS,
    draw_weights,
    posterior_of_ranks,
    resample_texts,
)

Value = Callable[[FloatArray], FloatArray]
"""Sums [..., M] -> the score [...]."""
CHUNK = 4_000_000
"""Weights held at once."""
UNSEEN_STREAM = 3


class Countable(Answered):
    """Answers whose scores are functions of sums over texts, for all scores that `value` knows."""

    @cached_property
    @abstractmethod
    def cells_BM(self) -> FloatArray:
        """What each text adds."""

    @abstractmethod
    def value(self, metric: str) -> Value | None:
        """The score as a function of sums; None for a score that is no such function."""

    @abstractmethod
    def ranked_statistic(self, metric: str) -> Statistic | None:
        """The weighted form of a score that hangs on the order of all texts; None where there is no such score."""

    @abstractmethod
    def unseen_QM(self, metric: str, share: float) -> FloatArray:
        """What few errors can't rule out: kinds of half a text each that have prior mass, none where errors are many.

        Half a text right and half a text wrong, Jeffreys' prior on a share (see `glotune.stats.count_bootstrap`).

        Args:
            share: clusters per text: copies count once.
        """

    @abstractmethod
    def hangs_on_few(self, metric: str) -> bool:
        """Whether a score of the order of texts hangs on ranks that few texts could have broken."""

    @abstractmethod
    def with_unseen(self, copies: int, rng: np.random.Generator) -> Countable:
        """These texts and, behind them, texts that nobody has seen: of each kind `copies`, half a text together.

        As many for every list of answers with as many labels.
        """

    def statistic(self, metric: str) -> Statistic:
        """The weighted form of any score of the task; raises UserError for others."""
        value = self.value(metric)
        if value is not None:
            return lambda weights_RB: value(weights_RB @ self.cells_BM)
        if metric == "loss":
            return loss_statistic(self)
        found = self.ranked_statistic(metric)
        if found is None:
            known = self.kind.scored
            raise UserError(
                f"metric {metric!r}",
                expected=f"a score of the task {self.kind.name}: {', '.join(known)}",
                remedy=None if metric in known else did_you_mean(metric, known),
            )
        return found

    def left_out(self, metric: str) -> FloatArray | None:
        """[B] the score without each text; None for a score that is no function of sums."""
        value = self.value(metric)
        return None if value is None else value(self.cells_BM.sum(axis=0) - self.cells_BM)

    def steps(self, metric: str) -> FloatArray:
        """[Q] how far a text that no one has seen would move the score, see `unseen_QM`; [1] zero where none would."""
        value, unseen_QM = self.value(metric), self.unseen_QM(metric, 1.0)
        if value is None or not len(unseen_QM):
            return np.zeros(1)
        total_M = self.cells_BM.sum(axis=0)
        moved_Q = np.abs(value(total_M + unseen_QM) - value(total_M))
        # One step for each score by label, one for all of a share: as many for every list of answers.
        return np.array([np.sqrt((moved_Q**2).mean())])


def resample_cells(
    parts: Sequence[Countable],
    numbers: Sequence[IntArray],
    num_clusters: int,
    metrics: Sequence[str],
    *,
    seed: Sequence[int],
    resamples: int = RESAMPLES,
) -> dict[str, Joint]:
    """Bootstrap metrics of several lists of answers under the same draws of clusters.

    Args:
        parts: of one task.
        numbers: of each list, the cluster of each text, 0 .. G-1.
        num_clusters: G.
        metrics: names.
        seed: words that seed the draws.
        resamples: R.
    """
    summed = [name for name in metrics if all(part.value(name) is not None for part in parts)]
    found: dict[str, Joint] = {}
    if summed:
        found = _of_sums(parts, numbers, num_clusters, summed, seed, resamples)
    for name in metrics:
        if name not in found:
            statistics = [part.statistic(name) for part in parts]
            found[name] = resample_texts(statistics, numbers, num_clusters, seed=seed, resamples=resamples)
            if found[name].is_defined_P.all() and any(part.hangs_on_few(name) for part in parts):
                posterior_RP = _of_unseen(parts, numbers, num_clusters, name, seed, resamples)
                found[name] = replace(found[name], posterior_RP=posterior_RP)
    return found


def _of_unseen(
    parts: Sequence[Countable],
    numbers: Sequence[IntArray],
    num_clusters: int,
    metric: str,
    seed: Sequence[int],
    resamples: int,
) -> FloatArray:
    """[R, P] posterior draws of a score of the order of texts, those that nobody has seen among them."""
    rng = np.random.default_rng([*seed, UNSEEN_STREAM])
    widened = [part.with_unseen(UNSEEN_ANSWERS, rng) for part in parts]
    statistics = [each.statistic(metric) for each in widened]
    copies = [part.num_texts / len(np.unique(number_B)) for part, number_B in zip(parts, numbers, strict=True)]
    return posterior_of_ranks(
        statistics,
        numbers,
        num_clusters,
        [each.num_texts - part.num_texts for each, part in zip(widened, parts, strict=True)],
        copies,
        rng,
        resamples,
    )


def _of_sums(
    parts: Sequence[Countable],
    numbers: Sequence[IntArray],
    num_clusters: int,
    metrics: Sequence[str],
    seed: Sequence[int],
    resamples: int,
) -> dict[str, Joint]:
    rng = np.random.default_rng(list(seed))
    clusters = [
        _by_cluster(part.cells_BM, number_B, num_clusters) for part, number_B in zip(parts, numbers, strict=True)
    ]
    rows = max(1, CHUNK // max(1, num_clusters))
    drawn: list[list[FloatArray]] = [[] for _ in parts]
    for start in range(0, resamples, rows):
        weights_RG = draw_weights(min(rows, resamples - start), num_clusters, rng)
        for place, cells_GM in enumerate(clusters):
            drawn[place].append(weights_RG @ cells_GM)
    drawn_PRM = [np.concatenate(each) for each in drawn]
    joints = {}
    for name in metrics:
        values = [_value(part, name) for part in parts]
        left_out_GP = None
        if 1 < num_clusters <= JACKKNIFE_LIMIT:
            left_out_GP = np.stack(
                [value(cells_GM.sum(axis=0) - cells_GM) for value, cells_GM in zip(values, clusters, strict=True)],
                axis=-1,
            )
        joints[name] = Joint(
            np.array([float(value(cells_GM.sum(axis=0))) for value, cells_GM in zip(values, clusters, strict=True)]),
            np.stack([value(drawn_RM) for value, drawn_RM in zip(values, drawn_PRM, strict=True)], axis=-1),
            left_out_GP,
            np.ones(num_clusters),
            _posterior(parts, numbers, clusters, name, seed, resamples),
        )
    return joints


def _posterior(
    parts: Sequence[Countable],
    numbers: Sequence[IntArray],
    clusters: Sequence[FloatArray],
    metric: str,
    seed: Sequence[int],
    resamples: int,
) -> FloatArray | None:
    """[R, P] posterior draws of the score (Rubin 1981) with what few errors can't rule out; None where none are few."""
    rng = np.random.default_rng([*seed, UNSEEN_STREAM])
    shares = [len(np.unique(number_B)) / len(number_B) for number_B in numbers]
    unseen = [part.unseen_QM(metric, share) for part, share in zip(parts, shares, strict=True)]
    if not any(len(each) for each in unseen):
        return None
    num_clusters = len(clusters[0])
    rows = max(1, CHUNK // max(1, num_clusters))
    found = []
    for start in range(0, resamples, rows):
        gammas_RG = rng.standard_gamma(1.0, size=(min(rows, resamples - start), num_clusters))
        found.append(
            np.stack(
                [
                    _value(part, metric)(gammas_RG @ cells_GM + _extra(unseen_QM, len(gammas_RG), rng) / share)
                    for part, cells_GM, unseen_QM, share in zip(parts, clusters, unseen, shares, strict=True)
                ],
                axis=-1,
            )
        )
    return np.concatenate(found)


def _extra(unseen_QM: FloatArray, rows: int, rng: np.random.Generator) -> FloatArray:
    """[R, M] half a text of each kind that nobody has seen."""
    return np.asarray(rng.standard_gamma(0.5, size=(rows, len(unseen_QM))) @ unseen_QM)


def _value(part: Countable, metric: str) -> Value:
    value = part.value(metric)
    assert value is not None  # asked before
    return value


def _by_cluster(cells_BM: FloatArray, number_B: IntArray, num_clusters: int) -> FloatArray:
    found_GM = np.zeros((num_clusters, cells_BM.shape[1]))
    np.add.at(found_GM, number_B, cells_BM)
    return found_GM
