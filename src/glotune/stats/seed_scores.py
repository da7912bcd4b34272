"""Scores of several seeds on the same texts, and how much of their contrast the texts explain.

The score of a run is the plain mean of a metric over its languages. What single texts contribute
is their jackknife influence, so the variance over texts of any contrast of runs is that of the
contrast of influences: no resampling, and exact for all runs at once.

Shape letters: B texts, S seeds, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glotune.errors import UserError
from glotune.run.records import Interval
from glotune.stats.arrays import Outcomes
from glotune.stats.bootstrap import check_same_texts
from glotune.stats.confusion import FloatArray, count_metric, is_count_metric
from glotune.stats.contrasts import Contrast, contrast_of_values
from glotune.stats.resampling import LEVEL
from glotune.stats.text_bootstrap import statistic_of

ROWS = 256  # leave-one-out samples held at once

RunOutcomes = Mapping[str, Outcomes]
"""Language -> what one run answered there."""


@dataclass(frozen=True)
class SeedSummary:
    """One variant over its seeds.

    Attributes:
        mean: over seeds.
        spread: standard deviation over seeds (S - 1); None for one seed.
        interval: of the mean, over other seeds and other texts; None for one seed.
        seeds: S.
    """

    mean: float
    spread: float | None
    interval: Interval | None
    seeds: int


def run_score(run: RunOutcomes, metric: str) -> float:
    """The mean of a metric over the languages of a run.

    Raises:
        UserError: no such metric, one that is undefined here, or losses that were not recorded.
    """
    return float(np.mean([_value(outcomes, metric) for outcomes in run.values()]))


def summarise_seeds(runs_S: Sequence[RunOutcomes], metric: str, level: float = LEVEL) -> SeedSummary:
    """Mean, spread and interval of one variant.

    Raises:
        UserError: the runs don't answer the same texts, or there is no run.
    """
    scores = [run_score(run, metric) for run in runs_S]
    if len(runs_S) < 2:
        return SeedSummary(scores[0], None, None, 1)
    found = score_contrast([runs_S], [1.0], metric)
    half = float(found.half_width(level))
    mean = float(found.estimate)
    return SeedSummary(
        mean, float(np.std(scores, ddof=1)), Interval(low=mean - half, high=mean + half, level=level), len(runs_S)
    )


def score_contrast(runs_GS: Sequence[Sequence[RunOutcomes]], weights_G: Sequence[float], metric: str) -> Contrast:
    """The contrast of groups of runs over seeds and texts.

    Raises:
        UserError: fewer than two seeds in a group, or runs that don't answer the same texts.
    """
    _check_same_languages(runs_GS)
    variance, df = _text_variance(runs_GS, np.asarray(weights_G, dtype=np.float64), metric)
    values = [[run_score(run, metric) for run in runs] for runs in runs_GS]
    return contrast_of_values(values, weights_G, text_variance=variance, text_df=df)


def influences(outcomes: Outcomes, metric: str) -> FloatArray:
    """[B] how far each text pulls the metric: mean 0, and their mean square over B is its variance.

    Raises:
        UserError: see `run_score`.
    """
    if metric == "loss":
        losses_B = _losses(outcomes)
        return losses_B - losses_B.mean()
    if not is_count_metric(metric):
        return _influences_by_weights(outcomes, metric)
    value, counts_CC = count_metric(metric), outcomes.confusion_CC.astype(np.float64)
    kinds = np.argwhere(counts_CC > 0)
    left_out = np.repeat(counts_CC[None], len(kinds), axis=0)
    left_out[np.arange(len(kinds)), kinds[:, 0], kinds[:, 1]] -= 1.0
    per_cell_CC = np.zeros_like(counts_CC)
    per_cell_CC[kinds[:, 0], kinds[:, 1]] = value(left_out)
    values_B = per_cell_CC[outcomes.label_B, outcomes.prediction_B]
    return (outcomes.num_texts - 1.0) * (values_B.mean() - values_B)


def _influences_by_weights(outcomes: Outcomes, metric: str) -> FloatArray:
    """[B] the same for metrics of probabilities, leaving out each text in turn."""
    statistic, size = statistic_of(metric, outcomes), outcomes.num_texts
    values = []
    for start in range(0, size, ROWS):
        weights_RB = np.ones((min(ROWS, size - start), size))
        weights_RB[np.arange(len(weights_RB)), start + np.arange(len(weights_RB))] = 0.0
        values.append(statistic(weights_RB))
    values_B = np.concatenate(values)
    if not np.isfinite(values_B).all():
        raise UserError(f"{metric} hangs on single texts", expected="several texts of every class in each language")
    return np.asarray((size - 1.0) * (values_B.mean() - values_B), dtype=np.float64)


def _text_variance(runs_GS: Sequence[Sequence[RunOutcomes]], weights_G: FloatArray, metric: str) -> tuple[float, float]:
    """Variance of the contrast over texts, and its degrees of freedom, languages being independent.

    How a seed falls on a text shows in the spread over seeds as well as here; it is taken out of this
    part, so that it counts once.
    """
    languages = list(runs_GS[0][0])
    variances, squares = [], []
    for language in languages:
        contrast_B, twice = np.zeros(runs_GS[0][0][language].num_texts), 0.0
        for runs, weight in zip(runs_GS, weights_G, strict=True):
            influence_SB = np.stack([influences(run[language], metric) for run in runs])
            contrast_B += weight * influence_SB.mean(axis=0)
            if len(runs) > 1:
                of_runs = _variance_of_mean(influence_SB).mean()
                of_mean = _variance_of_mean(influence_SB.mean(axis=0, keepdims=True))[0]
                twice += weight**2 * (of_runs - of_mean) / (len(runs) - 1)
        variance = max(0.0, float(_variance_of_mean(contrast_B[None])[0]) - twice) / len(languages) ** 2
        variances.append(variance)
        squares.append(variance**2 / max(1, len(contrast_B) - 1))
    total = sum(variances)
    return total, total**2 / sum(squares) if total > 0 else np.inf


def _variance_of_mean(values_SB: FloatArray) -> FloatArray:
    """[S] squared standard error of each row's mean."""
    size = values_SB.shape[1]
    return np.asarray((values_SB**2).sum(axis=1) / size / max(1, size - 1), dtype=np.float64)


def _check_same_languages(runs_GS: Sequence[Sequence[RunOutcomes]]) -> None:
    first = runs_GS[0][0]
    for runs in runs_GS:
        for run in runs:
            if set(run) != set(first):
                raise UserError(
                    f"runs on {', '.join(sorted(first))} and on {', '.join(sorted(run))}",
                    expected="the same languages in every run of a comparison",
                )
            for language, outcomes in run.items():
                check_same_texts(first[language], outcomes)


def _value(outcomes: Outcomes, metric: str) -> float:
    if is_count_metric(metric):
        return float(count_metric(metric)(outcomes.confusion_CC))
    value = float(statistic_of(metric, outcomes)(np.ones((1, outcomes.num_texts)))[0])
    if np.isnan(value):
        raise UserError(f"{metric} is undefined", expected="texts of every class in each language")
    return value


def _losses(outcomes: Outcomes) -> FloatArray:
    if outcomes.loss_B is None:
        raise UserError("no losses", expected="a loss for each text", remedy="Predict these texts again")
    return outcomes.loss_B
