"""Bootstrap of any score by weighting texts, or clusters of texts that belong together.

A resample is a weight for each text: how often it was drawn. Texts that are not independent
(duplicates, sentences of one document, translations of one another) are drawn as a cluster.

Shape letters: R resamples, G clusters, B texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from glotune.errors import UserError, did_you_mean
from glotune.stats.arrays import Outcomes
from glotune.stats.calibration import weighted_ece
from glotune.stats.confusion import COUNT_METRICS, FloatArray, count_metric, is_count_metric
from glotune.stats.curves import weighted_macro_roc_auc
from glotune.stats.resampling import RESAMPLES, Resampled, jackknife_moments

Statistic = Callable[[FloatArray], FloatArray]
"""Weights [R, B] -> the number under each weighting [R]; NaN where it is undefined."""

JACKKNIFE_LIMIT = 1000  # the skewness correction fades with 1 / sqrt(clusters): not worth its cost above
CHUNK = 4_000_000  # weights held at once
DEFINED_SHARE = 0.95


def statistic_of(metric: str, outcomes: Outcomes) -> Statistic:
    """The weighted form of a metric on these texts.

    Raises:
        UserError: no such metric, or the loss was not recorded.
    """
    if is_count_metric(metric):
        return _count_statistic(metric, outcomes)
    if metric == "loss":
        if outcomes.loss_B is None:
            raise UserError("no losses", expected="a loss for each text", remedy="Predict these texts again")
        losses_B = outcomes.loss_B
        return lambda weights_RB: weights_RB @ losses_B / weights_RB.sum(axis=1)
    if metric == "ece":
        return lambda weights_RB: weighted_ece(outcomes, weights_RB)
    if metric == "roc_auc":
        return lambda weights_RB: weighted_macro_roc_auc(outcomes, weights_RB)
    known = [*COUNT_METRICS, "loss", "ece", "roc_auc"]
    raise UserError(f"metric {metric!r}", expected="one of " + ", ".join(known), remedy=did_you_mean(metric, known))


def resample_texts(
    statistics: dict[str, Statistic],
    num_texts: int,
    *,
    seed: Sequence[int],
    cluster_B: ArrayLike | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Resampled]:
    """Bootstrap statistics under the same draws; one that is undefined too often is left out.

    Args:
        statistics: name -> weights [R, B] to values [R].
        num_texts: B.
        seed: words that seed the draws.
        cluster_B: which texts are drawn together; None draws each alone.
        resamples: R.
    """
    rng = np.random.default_rng(list(seed))
    cluster = np.arange(num_texts) if cluster_B is None else np.unique(np.asarray(cluster_B), return_inverse=True)[1]
    num_clusters = int(cluster.max()) + 1
    draws: dict[str, list[FloatArray]] = {name: [] for name in statistics}
    rows = max(1, CHUNK // num_texts)
    for start in range(0, resamples, rows):
        weights_RB = _draw_weights(min(rows, resamples - start), num_clusters, rng)
        weights_RB = weights_RB if cluster_B is None else weights_RB[:, cluster]
        for name, statistic in statistics.items():
            draws[name].append(statistic(weights_RB))
    results = {}
    for name, statistic in statistics.items():
        summary = _summarise(statistic, np.concatenate(draws[name]), cluster, num_clusters)
        if summary is not None:
            results[name] = summary
    return results


def _draw_weights(rows: int, num_clusters: int, rng: np.random.Generator) -> FloatArray:
    """[rows, G] how often each cluster is drawn in G draws with replacement."""
    drawn = rng.integers(num_clusters, size=(rows, num_clusters))
    drawn += num_clusters * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * num_clusters).reshape(rows, num_clusters).astype(np.float64)


def _summarise(
    statistic: Statistic, draws_R: FloatArray, cluster_B: np.ndarray[tuple[int], np.dtype[np.intp]], num_clusters: int
) -> Resampled | None:
    estimate = float(statistic(np.ones((1, len(cluster_B))))[0])
    defined = np.isfinite(draws_R)
    if not np.isfinite(estimate) or defined.mean() < DEFINED_SHARE:
        return None
    kept_R = draws_R[defined]
    if len(kept_R) < len(draws_R):  # keep R, so that draws of several languages can be added
        kept_R = np.resize(kept_R, len(draws_R))
    variance, third = float(np.var(kept_R)), 0.0
    if 1 < num_clusters <= JACKKNIFE_LIMIT:
        left_out_G = statistic((1.0 - np.eye(num_clusters))[:, cluster_B])
        if np.isfinite(left_out_G).all():
            variance, third = jackknife_moments(left_out_G, np.ones(num_clusters))
    return Resampled(estimate, kept_R, variance, third)


def _count_statistic(metric: str, outcomes: Outcomes) -> Statistic:
    value, num_labels = count_metric(metric), outcomes.num_labels
    cell_of_text_BK = np.eye(num_labels**2)[outcomes.label_B * num_labels + outcomes.prediction_B]
    return lambda weights_RB: value((weights_RB @ cell_of_text_BK).reshape(-1, num_labels, num_labels))
