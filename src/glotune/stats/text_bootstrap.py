"""Bootstrap of any score by weighting texts, or clusters of texts that belong together.

A resample is a weight for each text: how often it was drawn. Texts that are not independent
(duplicates, sentences of one document, translations of one another) are drawn as a cluster.

Shape letters: R resamples, G clusters, B texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from glotune.errors import UserError, did_you_mean
from glotune.stats.arrays import Outcomes, Statistic, loss_statistic
from glotune.stats.calibration import weighted_ece
from glotune.stats.confusion import COUNT_METRICS, FloatArray, IntArray, count_metric, is_count_metric
from glotune.stats.curves import weighted_macro_roc_auc
from glotune.stats.resampling import RESAMPLES, Joint
from glotune.stats.votes import VOTE_METRICS

JACKKNIFE_LIMIT = 1000  # the skewness correction fades with 1 / sqrt(clusters): not worth its cost above
UNSEEN_ANSWERS = 8
"""Answers among which the half text of each class is shared out."""
CHUNK = 4_000_000  # weights held at once


def statistic_of(metric: str, outcomes: Outcomes) -> Statistic:
    """The weighted form of a metric on these texts, which count by their own weights where they have any.

    Raises:
        UserError: no such metric, or the loss was not recorded.
    """
    own_B = outcomes.weight_B
    if own_B is None:
        return _plain_statistic(metric, outcomes)
    inner = _plain_statistic(metric, outcomes)
    return lambda weights_RB: inner(weights_RB * own_B)


def _plain_statistic(metric: str, outcomes: Outcomes) -> Statistic:
    if is_count_metric(metric):
        return _count_statistic(metric, outcomes)
    if metric == "loss":
        return loss_statistic(outcomes)
    if metric == "ece":
        return lambda weights_RB: weighted_ece(outcomes, weights_RB)
    if metric == "roc_auc":
        return lambda weights_RB: weighted_macro_roc_auc(outcomes, weights_RB)
    if metric in VOTE_METRICS and outcomes.votes_BC is not None:
        return _mean_statistic(VOTE_METRICS[metric](outcomes))
    known = [*COUNT_METRICS, "loss", "ece", "roc_auc", *(VOTE_METRICS if outcomes.votes_BC is not None else ())]
    raise UserError(f"metric {metric!r}", expected="one of " + ", ".join(known), remedy=did_you_mean(metric, known))


def _mean_statistic(values_B: FloatArray) -> Statistic:
    """The mean over the texts whose value is known; NaN where no such text is drawn."""
    is_known_B = np.isfinite(values_B)
    known_B = np.where(is_known_B, values_B, 0.0)

    def mean(weights_RB: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore"):
            return np.asarray((weights_RB @ known_B) / (weights_RB @ is_known_B), dtype=np.float64)

    return mean


def resample_texts(
    statistics: Sequence[Statistic],
    clusters: Sequence[IntArray],
    num_clusters: int,
    *,
    seed: Sequence[int],
    resamples: int = RESAMPLES,
) -> Joint:
    """Bootstrap the statistics of several lists of texts under the same draws of clusters.

    Args:
        statistics: of each list, weights [R, B] to values [R].
        clusters: of each list, the cluster of each text, 0 .. G-1.
        num_clusters: G.
        seed: words that seed the draws.
        resamples: R.
    """
    rng = np.random.default_rng(list(seed))
    rows = max(1, CHUNK // max(num_clusters, *map(len, clusters)))
    drawn = [
        _values(statistics, clusters, draw_weights(min(rows, resamples - start), num_clusters, rng))
        for start in range(0, resamples, rows)
    ]
    left_out_GP = None
    if 1 < num_clusters <= JACKKNIFE_LIMIT:
        left_out_GP = _values(statistics, clusters, 1.0 - np.eye(num_clusters))
    whole_P = _values(statistics, clusters, np.ones((1, num_clusters)))[0]
    return Joint(whole_P, np.concatenate(drawn), left_out_GP, np.ones(num_clusters))


def auc_posterior(
    parts: Sequence[Outcomes],
    clusters: Sequence[IntArray],
    num_clusters: int,
    *,
    seed: Sequence[int],
    resamples: int = RESAMPLES,
) -> FloatArray:
    """[R, P] posterior draws of the macro AUC: the texts, and half a text of each class that got any text's answer.

    A bootstrap of texts that are ranked without a mistake makes none either. What it can't have seen is here, as
    Jeffreys' prior has it for shares: of each class, half a text whose answer is that of a text drawn at random. Two
    models get different ones, so that they are not proven equal where both rank everything rightly.
    """
    rng = np.random.default_rng([*seed, 2])
    num_labels = parts[0].num_labels
    unseen_U = np.repeat(np.arange(num_labels), UNSEEN_ANSWERS)
    widened = []
    for part, cluster in zip(parts, clusters, strict=True):
        copied_U = rng.integers(part.num_texts, size=len(unseen_U))
        answers = np.concatenate([part.probabilities_BC, part.probabilities_BC[copied_U]])
        copies = part.num_texts / len(np.unique(cluster))
        widened.append((Outcomes(np.concatenate([part.label_B, unseen_U]), answers), copies))
    return posterior_of_ranks(
        [partial(weighted_macro_roc_auc, each) for each, _ in widened],
        clusters,
        num_clusters,
        [len(unseen_U)] * len(parts),
        [copies for _, copies in widened],
        rng,
        resamples,
    )


def posterior_of_ranks(
    statistics: Sequence[Statistic],
    clusters: Sequence[IntArray],
    num_clusters: int,
    unseen: Sequence[int],
    copies: Sequence[float],
    rng: np.random.Generator,
    resamples: int,
) -> FloatArray:
    """[R, P] posterior draws (Rubin 1981) of statistics over texts and, behind them, texts that nobody has seen.

    Args:
        statistics: of each list, weights [R, B + U] to values [R].
        clusters: of each list, the cluster of each of its B texts.
        unseen: U of each list, each `UNSEEN_ANSWERS` of them half a text.
        copies: texts of a cluster of each list: what nobody has seen would be as many.
    """
    drawn = []
    rows = max(1, CHUNK // max(num_clusters, *map(len, clusters)))
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        gammas_RG = rng.standard_gamma(1.0, size=(size, num_clusters))
        extra_RU = rng.standard_gamma(0.5 / UNSEEN_ANSWERS, size=(size, max(unseen)))
        drawn.append([
            each(np.concatenate([gammas_RG[:, cluster], more * extra_RU[:, :count]], axis=1))
            for each, cluster, count, more in zip(statistics, clusters, unseen, copies, strict=True)
        ])  # fmt: skip
    return np.concatenate([np.stack(each, axis=1) for each in drawn])


def _values(statistics: Sequence[Statistic], clusters: Sequence[IntArray], weights_RG: FloatArray) -> FloatArray:
    """[R, P] every statistic, its texts weighted as their clusters are."""
    return np.stack([each(weights_RG[:, cluster]) for each, cluster in zip(statistics, clusters, strict=True)], axis=1)


def draw_weights(rows: int, num_clusters: int, rng: np.random.Generator) -> FloatArray:
    """[rows, G] how often each cluster is drawn in G draws with replacement."""
    drawn = rng.integers(num_clusters, size=(rows, num_clusters))
    drawn += num_clusters * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * num_clusters).reshape(rows, num_clusters).astype(np.float64)


def _count_statistic(metric: str, outcomes: Outcomes) -> Statistic:
    value, num_labels = count_metric(metric), outcomes.num_labels
    cell_of_text_BK = np.eye(num_labels**2)[outcomes.label_B * num_labels + outcomes.prediction_B]
    return lambda weights_RB: value((weights_RB @ cell_of_text_BK).reshape(-1, num_labels, num_labels))
