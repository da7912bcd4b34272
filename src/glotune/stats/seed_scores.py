"""Scores of several seeds on the same texts, and how much of their contrast the texts explain.

The score of a run is the plain mean of a metric over its languages. What single texts contribute
is their jackknife influence, so the variance over texts of any contrast of runs is that of the
contrast of influences: no resampling, and exact for all runs at once. Influences are summed over
texts that belong together, within a language and across languages, before they are squared.

Where few texts tell the groups apart, the sample can't know what it has not seen: no discordant
text in thirty is no proof that there is none. Half a discordant text each way is therefore added
(Agresti and Min 2005), in each class for scores that are made of shares of classes; and the
degrees of freedom follow from how uneven the squares are, about two for each discordant text.

Shape letters: B texts, G groups, N clusters of texts, S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glotune.errors import UserError
from glotune.run.records import Interval
from glotune.stats.arrays import Answered, Outcomes
from glotune.stats.bootstrap import check_same_texts
from glotune.stats.cells import Countable
from glotune.stats.clusters import common_numbers, sharing_clusters
from glotune.stats.confusion import FloatArray, IntArray, count_metric, is_count_metric
from glotune.stats.contrasts import Contrast, contrast_of_values
from glotune.stats.count_bootstrap import answers_of_one_text, counts_by_class
from glotune.stats.resampling import LEVEL
from glotune.stats.seed_prior import SeedPrior

UNEVEN = 4.0
"""Spreads over seeds that differ by this factor are told: of two alike, three seeds each show it in one of nine."""
ROWS = 256  # leave-one-out samples held at once

RunOutcomes = Mapping[str, Answered]
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


def score_contrast(
    runs_GS: Sequence[Sequence[RunOutcomes]],
    weights_G: Sequence[float],
    metric: str,
    prior: SeedPrior | None = None,
) -> Contrast:
    """The contrast of groups of runs over seeds and texts; `prior` as for `glotune.stats.contrasts.contrast`.

    Raises:
        UserError: fewer than two seeds in a group, or runs that don't answer the same texts.
    """
    _check_same_languages(runs_GS)
    variance, df = _text_variance(runs_GS, np.asarray(weights_G, dtype=np.float64), metric)
    values = [[run_score(run, metric) for run in runs] for runs in runs_GS]
    return contrast_of_values(values, weights_G, text_variance=variance, text_df=df, prior=prior)


def uneven_spread(values_GS: Sequence[Sequence[float]]) -> float | None:
    """How many times as far the seeds of one group scatter as those of another; None below `UNEVEN`.

    Where a variant has a bad seed now and then, a few seeds without one make it look better than it is, and no
    interval from these seeds can tell (tests/simulation: false support in about a fifth of such comparisons). All
    that can be seen is a spread that differs.
    """
    spreads = [float(np.std(values, ddof=1)) for values in values_GS if len(values) > 1]
    if len(spreads) < 2 or max(spreads) == 0 or max(spreads) < UNEVEN * min(spreads):
        return None
    return max(spreads) / min(spreads) if min(spreads) > 0 else np.inf


def influences(outcomes: Answered, metric: str) -> FloatArray:
    """[B] how far each text pulls the metric: mean 0, and their mean square over B is its variance.

    Raises:
        UserError: see `run_score`.
    """
    if metric == "loss" and outcomes.counts_alike:
        losses_B = _losses(outcomes)
        return losses_B - losses_B.mean()
    left_out_B = outcomes.left_out(metric) if isinstance(outcomes, Countable) else None
    if left_out_B is not None:
        return (outcomes.num_texts - 1.0) * (left_out_B.mean() - left_out_B)
    if not isinstance(outcomes, Outcomes) or not is_count_metric(metric) or not outcomes.counts_alike:
        return _influences_by_weights(outcomes, metric)
    value, counts_CC = count_metric(metric), outcomes.confusion_CC.astype(np.float64)
    kinds = np.argwhere(counts_CC > 0)
    left_out = np.repeat(counts_CC[None], len(kinds), axis=0)
    left_out[np.arange(len(kinds)), kinds[:, 0], kinds[:, 1]] -= 1.0
    per_cell_CC = np.zeros_like(counts_CC)
    per_cell_CC[kinds[:, 0], kinds[:, 1]] = value(left_out)
    values_B = per_cell_CC[outcomes.label_B, outcomes.prediction_B]
    return (outcomes.num_texts - 1.0) * (values_B.mean() - values_B)


def _influences_by_weights(outcomes: Answered, metric: str) -> FloatArray:
    """[B] the same for metrics of probabilities, leaving out each text in turn."""
    statistic, size = outcomes.statistic(metric), outcomes.num_texts
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
    """Variance of the contrast over texts, and its degrees of freedom.

    How a seed falls on a text shows in the spread over seeds as well as here; it is taken out of this
    part, so that it counts once.
    """
    first = runs_GS[0][0]
    numbers, size = common_numbers(
        [each.cluster_B for each in first.values()], [each.num_texts for each in first.values()]
    )
    contrast_N, twice = np.zeros(size), 0.0
    for runs, weight in zip(runs_GS, weights_G, strict=True):
        pull_SN = np.stack([_pulls(run, metric, numbers, size) for run in runs])
        contrast_N += weight * pull_SN.mean(axis=0)
        if len(runs) > 1:
            of_runs, of_mean = (pull_SN**2).sum(axis=1).mean(), (pull_SN.mean(axis=0) ** 2).sum()
            twice += weight**2 * (of_runs - of_mean) / (len(runs) - 1)
    unseen = _unseen_steps(runs_GS, metric, numbers, size) ** 2 * float((weights_G**2).sum()) / 2.0
    seen, everything = float((contrast_N**2).sum()), float((contrast_N**2).sum() + unseen.sum())
    if everything == 0:
        return 0.0, np.inf
    # The variance of a sum of squares, from their own spread (Satterthwaite's idea): no normal texts are assumed.
    spread = float((contrast_N**4).sum() + (unseen**2).sum()) - everything**2 / size
    df = 2.0 * everything**2 / spread if spread > 0 else np.inf
    return max(0.0, seen - twice) + float(unseen.sum()), float(np.clip(df, 1.0, max(1, size - 1)))


def text_pulls(runs_VS: Sequence[Sequence[RunOutcomes]], metric: str) -> FloatArray:
    """[V, N] how far each cluster of texts pulls the mean score of each variant, over its seeds and languages.

    Raises:
        UserError: see `score_contrast`.
    """
    _check_same_languages(runs_VS)
    first = runs_VS[0][0].values()
    numbers, size = common_numbers([each.cluster_B for each in first], [each.num_texts for each in first])
    return np.stack([np.mean([_pulls(run, metric, numbers, size) for run in runs], axis=0) for runs in runs_VS])


def _pulls(run: RunOutcomes, metric: str, numbers: Sequence[IntArray], size: int) -> FloatArray:
    """[N] how far each cluster of texts pulls the mean over languages: the squares sum to its variance."""
    pull_N = np.zeros(size)
    for outcomes, number_B in zip(run.values(), numbers, strict=True):
        clusters = len(np.unique(number_B))
        scale = np.sqrt(clusters / max(1, clusters - 1)) / outcomes.num_texts / len(run)
        pull_N += np.bincount(number_B, weights=influences(outcomes, metric), minlength=size) * scale
    return pull_N


def _unseen_steps(
    runs_GS: Sequence[Sequence[RunOutcomes]], metric: str, numbers: Sequence[IntArray], size: int
) -> FloatArray:
    """What one cluster of texts, right in one group and wrong in another, would move the mean over languages by.

    One step for each class that stands for itself in the score, one for all classes otherwise; languages whose texts
    belong together move together.
    """
    steps = []
    languages = list(runs_GS[0][0])
    for group in sharing_clusters(numbers, size):
        found = []
        for place in group:
            answered = [run[languages[place]] for runs in runs_GS for run in runs]
            texts_per_cluster = answered[0].num_texts / len(np.unique(numbers[place]))
            found.append(_steps(answered, metric) * texts_per_cluster / len(languages))
        steps.append(np.sum(found, axis=0))
    return np.concatenate(steps)


def _steps(answered: Sequence[Answered], metric: str) -> FloatArray:
    """The same for one text of one language, by class or [1] for all."""
    several = [each for each in answered if isinstance(each, Countable)]
    if several:
        return np.mean([each.steps(metric) for each in several], axis=0)
    return _class_steps([each for each in answered if isinstance(each, Outcomes)], metric)


def _class_steps(answered: Sequence[Outcomes], metric: str) -> FloatArray:
    support_C = np.bincount(answered[0].label_B, minlength=answered[0].num_labels)
    present_C = support_C > 0
    if metric == "roc_auc":  # a text of which the ranking is not known: right against half of the others
        rarer_C = np.minimum(support_C, answered[0].num_texts - support_C)
        return 0.5 / np.maximum(1, rarer_C) / len(support_C)
    if not is_count_metric(metric):
        return np.zeros(1)
    confusion_M = np.mean([outcomes.confusion_CC for outcomes in answered], axis=0).ravel()
    value, size = count_metric(metric), len(support_C)
    right_CM, wrong_CM = answers_of_one_text(size)
    found_C = np.abs(
        value((confusion_M + right_CM).reshape(size, size, size))
        - value((confusion_M + wrong_CM).reshape(size, size, size))
    )
    if counts_by_class(metric):
        return np.where(present_C, found_C, 0.0)
    return np.sqrt(np.average(found_C**2, weights=support_C, keepdims=True))


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


def _value(outcomes: Answered, metric: str) -> float:
    if isinstance(outcomes, Outcomes) and is_count_metric(metric) and outcomes.counts_alike:
        return float(count_metric(metric)(outcomes.confusion_CC))
    value = float(outcomes.statistic(metric)(np.ones((1, outcomes.num_texts)))[0])
    if np.isnan(value):
        raise UserError(f"{metric} is undefined", expected="texts of every class in each language")
    return value


def _losses(outcomes: Answered) -> FloatArray:
    if outcomes.loss_B is None:
        raise UserError("no losses", expected="a loss for each text", remedy="Predict these texts again")
    return outcomes.loss_B
