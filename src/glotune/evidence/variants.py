"""Runs that differ in their seed alone, as one variant; and the paired difference of two variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glotune.errors import UserError
from glotune.evidence.validity import refuse_mixed_training
from glotune.run.data import RunData
from glotune.run.records import Interval
from glotune.run.variants import by_variant, is_seed_of

if TYPE_CHECKING:
    from glotune.stats.seed_prior import SeedPrior

RESAMPLING_SEED = 0
FEWEST_SEEDS = 2
"""With fewer, a lead says nothing about other seeds, and nothing is set in bold."""


@dataclass(frozen=True, eq=False)
class Variant:
    """One configuration and its seeds."""

    name: str
    runs: tuple[RunData, ...]
    """Those with scores."""
    without_scores: tuple[RunData, ...] = ()
    """Those that ended without any: they diverged."""

    @property
    def every_run(self) -> tuple[RunData, ...]:
        """Those that diverged too."""
        return (*self.runs, *self.without_scores)

    @property
    def unsound(self) -> str | None:
        """Why its scores compare with nothing; None where they do."""
        for run in self.every_run:
            if run.verdict is None:
                return f"seed {run.manifest.seed} has no verdict ({run.manifest.status.value})"
            if not run.is_sound:
                return f"seed {run.manifest.seed} {run.verdict.as_verb}"
        return None

    def values(self, split: str, metric: str, languages: list[str]) -> list[float]:
        """The metric of each seed that has it, as a mean over languages."""
        found = [run.score(split, metric, languages) for run in self.runs]
        return [value for value in found if value is not None]


def group(runs: Sequence[RunData], without_scores: Sequence[RunData] = ()) -> list[Variant]:
    """Variants in the order of their first run, as `glotune.run.variants.by_variant` tells them apart.

    Args:
        runs: those that have scores.
        without_scores: those that ended without any; they are counted with the seeds of their variant.

    Raises:
        UserError: runs on different data that a study calls one variant.
    """
    found = by_variant(runs)
    for members in found.values():
        refuse_mixed_training(members[0].variant, members)
    return [
        Variant(name, tuple(members), tuple(run for run in without_scores if is_seed_of(run, members[0])))
        for name, members in found.items()
    ]


@dataclass(frozen=True)
class Difference:
    """Candidate minus reference on the same texts; `reason` says why where there is none."""

    candidate: str
    reference: str
    value: float | None = None
    """Raw: shares in 0 .. 1, the metric's unit otherwise."""
    interval: Interval | None = None
    p_value: float | None = None
    adjusted_p: float | None = None
    """Holm-corrected over all differences of the comparison."""
    over: str = ""
    """What the interval is over: ``texts``, or ``seeds and texts``."""
    could_show: float | None = None
    """The difference that these seeds and texts show with a chance of 80 %; None where it is about two models alone."""
    test: str = ""
    """The name of the test behind the p-value, where it is about two models alone."""
    reason: str | None = None

    @property
    def is_beyond_chance(self) -> bool:
        """The interval excludes 0 and the corrected p-value is at most 0.05."""
        if self.interval is None or self.adjusted_p is None:
            return False
        return self.adjusted_p <= 0.05 and not self.interval.low <= 0.0 <= self.interval.high


def difference(
    candidate: Variant,
    reference: Variant,
    metric: str,
    split: str,
    languages: list[str],
    prior: SeedPrior | None = None,
) -> Difference:
    """The paired difference: over seeds and texts where both have two seeds or more, over texts where both have one.

    `prior` as for `glotune.stats.contrasts.contrast`.
    """
    names = (candidate.name, reference.name)
    for variant in (candidate, reference):
        if variant.unsound:
            return Difference(*names, reason=f"{variant.name}: {variant.unsound}")
    seeds = (len(candidate.runs), len(reference.runs))
    if min(seeds) == 1 and max(seeds) > 1:
        return Difference(*names, reason=f"{seeds[0]} and {seeds[1]} seeds: give both one, or both two or more")
    try:
        if min(seeds) == 1:
            return _over_texts(names, candidate.runs[0], reference.runs[0], metric, split, languages)
        return _over_seeds(names, candidate, reference, metric, split, languages, prior)
    except UserError as error:
        return Difference(*names, reason=str(error))


def _over_texts(
    names: tuple[str, str], first: RunData, second: RunData, metric: str, split: str, languages: list[str]
) -> Difference:
    from glotune.stats.bootstrap import paired_mean_difference
    from glotune.stats.hypothesis_tests import exact_or_bootstrap

    answered = first.answered(split, languages), second.answered(split, languages)
    found = paired_mean_difference(metric, *answered, seed=RESAMPLING_SEED)
    p_value, test = exact_or_bootstrap(metric, *answered, found, seed=RESAMPLING_SEED)
    return Difference(*names, found.estimate, found.interval(), p_value, over="texts", test=test)


def _over_seeds(
    names: tuple[str, str],
    first: Variant,
    second: Variant,
    metric: str,
    split: str,
    languages: list[str],
    prior: SeedPrior | None,
) -> Difference:
    from glotune.stats.power import least_difference
    from glotune.stats.seed_scores import score_contrast

    runs = [[run.answered(split, languages) for run in variant.runs] for variant in (first, second)]
    found = score_contrast(runs, [1.0, -1.0], metric, prior)
    value, half = float(found.estimate), float(found.half_width(0.95))
    interval = Interval(low=value - half, high=value + half)
    could_show = least_difference(found)
    return Difference(*names, value, interval, float(found.p_value()), over="seeds and texts", could_show=could_show)


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """The same with Holm-corrected p-values over all that were tested."""
    from dataclasses import replace

    from glotune.stats.hypothesis_tests import holm

    tested = [each for each in differences if each.p_value is not None]
    adjusted = iter(holm([each.p_value for each in tested if each.p_value is not None]))
    return [each if each.p_value is None else replace(each, adjusted_p=next(adjusted)) for each in differences]
