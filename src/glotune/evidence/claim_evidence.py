"""From the runs of a claim's variants to the contrast that it is held against."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from glotune.errors import UserError
from glotune.evidence.claim_records import Claim, Form, Variant
from glotune.stats.arrays import lacking_class
from glotune.stats.confusion import PER_CLASS, class_of
from glotune.stats.contrasts import Contrast, contrast_of_values
from glotune.stats.seed_prior import seed_prior
from glotune.stats.seed_scores import run_score, score_contrast

WEIGHTS: dict[Form, tuple[float, ...]] = {
    "superior": (1.0, -1.0),
    "non_inferior": (1.0, -1.0),
    "interaction": (1.0, -1.0, -1.0, 1.0),
}
UNITS = {"epochs": 1.0, "best_epoch": 1.0}
"""Metrics that are whole numbers: seeds that agree only say that they differ by less than one unit, so
the variance of rounding, unit^2 / 12, is added."""


def is_ratio(claim: Claim) -> bool:
    """Whether the claim compares by ratio."""
    return claim.trait.scale == "ratio"


def check_claim(claim: Claim, names: Sequence[str], classes: int | None = None) -> None:
    """Refuses a claim that can't be tested as stated; needs no run.

    Args:
        claim: what is claimed.
        names: of its variants.
        classes: number of labels, where it is known.

    Raises:
        UserError: an unknown metric, a class that there is not, a wrong number of variants, variants that cancel out,
            or a margin of the wrong kind.
    """
    wanted = len(WEIGHTS[claim.form])
    if len(names) != wanted:
        raise UserError(
            f"{len(names)} variants", expected=f"{wanted} for a claim of the form {claim.form}", where=claim.name
        )
    if not _weights_by_name(claim, names):
        raise UserError(
            f"{', '.join(names)}: a comparison of something with itself",
            expected="variants that do not cancel out",
            where=claim.name,
        )
    _check_class(claim, classes)
    lowest = 1.0 if is_ratio(claim) else 0.0
    if claim.margin is not None and claim.margin < lowest:
        raise UserError(
            f"margin {claim.margin:g}",
            expected=f"at least {lowest:g}: {'a factor' if lowest else 'raw units'} for {claim.metric}",
            where=claim.name,
        )
    if claim.margin is not None and claim.trait.is_percent and claim.margin > 1.0:
        raise UserError(
            f"margin {claim.margin:g}",
            expected=f"at most 1: {claim.metric} lies between 0 and 1, and 0.02 is 2 points",
            where=claim.name,
        )


def _check_class(claim: Claim, classes: int | None) -> None:
    if claim.metric == claim.base_metric and claim.metric not in PER_CLASS:
        return
    index = class_of(claim.metric)
    if index is None or (classes is not None and index >= classes):
        raise UserError(
            f"metric {claim.metric!r}",
            expected="precision[N], recall[N] or f1[N], where N is the place of a class, "
            + ("from 0" if classes is None else f"0 to {classes - 1}"),
            where=claim.name,
        )


def obstacle_to(claim: Claim, variants: Sequence[Variant]) -> str | None:
    """Why there is nothing to test: an unsound run, no run, or one seed; None where there is."""
    for variant in variants:
        unsound = [verdict.as_verb for verdict in variant.verdicts_S if not verdict.is_sound]
        if unsound:
            return f"{len(unsound)} of {len(variant.verdicts_S)} runs of '{variant.name}' {unsound[0]}"
    measured = count_runs(claim, variants)
    if min(measured) == 0:
        return f"'{variants[measured.index(0)].name}' has no finished run with {claim.metric}"
    if min(measured) == 1 and not is_fixed(claim, variants):
        return f"'{variants[measured.index(1)].name}' has one seed, which says nothing about other seeds"
    if (language := absent_class(claim, variants)) is not None:
        return (
            f"a class has no text in {language}, where its F1 is 0 by convention: {claim.metric} compares nothing there"
        )
    return None


def count_runs(claim: Claim, variants: Sequence[Variant]) -> list[int]:
    """Runs of each variant that measured the claim's metric."""
    if _uses_values(claim, variants):
        return [len(variant.values_S) for variant in variants]
    return [len(variant.outcomes_S) for variant in variants]


def _uses_values(claim: Claim, variants: Sequence[Variant]) -> bool:
    return is_ratio(claim) or not any(variant.outcomes_S for variant in variants)


def is_fixed(claim: Claim, variants: Sequence[Variant]) -> bool:
    """Whether no other seed would change the figures: they follow from the recipe, or none of several seeds did."""
    if not _uses_values(claim, variants):
        return False
    agree = all(len(set(variant.values_S)) == 1 < len(variant.values_S) for variant in variants)
    return all(variant.is_fixed for variant in variants) or (agree and is_ratio(claim) and claim.metric not in UNITS)


def fixed_range(claim: Claim, variants: Sequence[Variant]) -> tuple[float, float, float]:
    """The improvement between the least and the most favourable seeds, and that of the means, as (low, mean, high).

    Raises:
        UserError: values that have no logarithm.
    """
    own, weights = once_each(claim, variants)
    parts = list(zip(weights, _values_on_scale(claim, own), strict=True))
    ends = [sorted((weight * min(values), weight * max(values))) for weight, values in parts]
    mean = sum(weight * float(np.mean(values)) for weight, values in parts)
    return sum(end[0] for end in ends), mean, sum(end[1] for end in ends)


def values_by_seed(claim: Claim, variants: Sequence[Variant]) -> list[list[float]]:
    """Each variant's values by seed, on the scale of the claim."""
    if _uses_values(claim, variants):
        return _values_on_scale(claim, variants)
    metric = _resolved(claim.metric, variants)
    return [[run_score(run, metric) for run in variant.outcomes_S] for variant in variants]


def absent_class(claim: Claim, variants: Sequence[Variant]) -> str | None:
    """A language of a macro score in which a class has no text; None where each has some."""
    if claim.trait.average != "macro" or not variants[0].outcomes_S:
        return None
    return lacking_class(variants[0].outcomes_S[0])


def claim_contrast(claim: Claim, variants: Sequence[Variant], peers: Sequence[Variant] = ()) -> Contrast:
    """The improvement: turned so that positive is better, in logs for a ratio.

    Args:
        claim: what is claimed.
        variants: those that it is about.
        peers: all variants of the study, whose spread over seeds these borrow from.

    Raises:
        UserError: values that have no logarithm, or runs that don't answer the same texts.
    """
    own, weights = once_each(claim, variants)
    lending = [
        each
        for each in peers
        if (each.outcomes_S or each.values_S) and all(verdict.is_sound for verdict in each.verdicts_S)
    ]
    prior = seed_prior(values_by_seed(claim, lending)) if lending else None
    if not _uses_values(claim, variants):
        return score_contrast(
            [variant.outcomes_S for variant in own], weights, _resolved(claim.metric, variants), prior
        )
    values = _values_on_scale(claim, own)
    unit = UNITS.get(claim.metric, 0.0)
    scale = [float(np.mean(variant.values_S)) if is_ratio(claim) else 1.0 for variant in own]
    return contrast_of_values(
        values, weights, extra_variance_G=[(unit / each) ** 2 / 12 for each in scale], prior=prior
    )


def once_each(claim: Claim, variants: Sequence[Variant]) -> tuple[list[Variant], list[float]]:
    """The variants of a claim and their weights, turned so that positive is better, each once.

    An interaction may name one variant twice, as in "from 3 to 6 layers more is gained than from 6 to 9". Its runs are
    one sample, not two: taken for two, the spread over seeds would be underrated where the weights add up, and counted
    where they cancel.
    """
    known = {variant.name: variant for variant in variants}
    weights = _weights_by_name(claim, [variant.name for variant in variants])
    return [known[name] for name in weights], list(weights.values())


def _weights_by_name(claim: Claim, names: Sequence[str]) -> dict[str, float]:
    """Name -> the sum of its weights, without those that cancel out."""
    sign = 1.0 if claim.trait.higher_is_better else -1.0
    weights: dict[str, float] = {}
    for name, weight in zip(names, WEIGHTS[claim.form], strict=True):
        weights[name] = weights.get(name, 0.0) + sign * weight
    return {name: weight for name, weight in weights.items() if weight}


def _values_on_scale(claim: Claim, variants: Sequence[Variant]) -> list[list[float]]:
    """Each variant's values; their logarithms for a ratio."""
    values = [list(variant.values_S) for variant in variants]
    if not is_ratio(claim):
        return values
    if any(not math.isfinite(value) or value <= 0 for group in values for value in group):
        raise UserError(f"{claim.metric} of 0, below or not finite", expected="positive values", where=claim.name)
    return [[math.log(value) for value in group] for group in values]


def _resolved(metric: str, variants: Sequence[Variant]) -> str:
    """``minority_recall`` as the recall of the rarest class of the texts."""
    if metric != "minority_recall":
        return metric
    support: Counter[int] = Counter()
    for outcomes in variants[0].outcomes_S[0].values():
        support.update(outcomes.support)
    if not any(support.values()):
        raise UserError(f"metric {metric!r}", expected="texts with classes or labels, of which one is the rarest")
    return f"recall[{min((count, label) for label, count in support.items() if count)[1]}]"


def claim_threshold(claim: Claim) -> float:
    """What the contrast is held against, on its scale."""
    margin = claim.margin if claim.margin is not None else (1.0 if is_ratio(claim) else 0.0)
    distance = math.log(margin) if is_ratio(claim) else margin
    return -distance if claim.form == "non_inferior" else distance
