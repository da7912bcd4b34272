"""What a claim is, what it is held against, and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from glotune.run.records import Interval, Verdict
from glotune.stats.seed_scores import RunOutcomes
from glotune.stats.traits import Trait, trait

Form = Literal["superior", "non_inferior", "interaction"]
Answer = Literal["supported", "refuted", "inconclusive"]
Scale = Literal["difference", "ratio"]


@dataclass(frozen=True)
class Claim:
    """What a study expects.

    Attributes:
        name: its sentence or short name.
        form: see the module.
        metric: a name of `glotune.stats.traits`; ``recall[2]`` for one class; ``minority_recall`` for
            the rarest class of the test texts.
        margin: raw units for a score (0.02 is 2 points), a factor of at least 1 for a ratio; None is no
            margin (0, or factor 1).
    """

    name: str
    form: Form
    metric: str
    margin: float | None = None

    @property
    def base_metric(self) -> str:
        """The metric without its class: ``recall`` of ``recall[2]``."""
        return self.metric.partition("[")[0]

    @property
    def trait(self) -> Trait:
        """Of the metric; raises UserError where there is none."""
        return trait(self.base_metric)


@dataclass(frozen=True)
class Variant:
    """The finished runs of one variant, one for each seed.

    Attributes:
        name: as in the study.
        outcomes_S: for a score, what each run answered per language.
        values_S: for a ratio or another measured figure, one value for each run.
        verdicts_S: one for each run; a claim about an unsound run has no answer.
        is_fixed: `values_S` follow from the recipe (a number of parameters): other seeds would not change them.
    """

    name: str
    outcomes_S: Sequence[RunOutcomes] = ()
    values_S: Sequence[float] = ()
    verdicts_S: Sequence[Verdict] = ()
    is_fixed: bool = False


@dataclass(frozen=True)
class ClaimAnswer:
    """The answer to a claim.

    Attributes:
        claim: as stated.
        answer: supported, refuted or inconclusive.
        reason: one sentence for the report.
        scale: ``difference`` in raw units, or ``ratio``: a factor, above 1 is better.
        improvement: the estimate, on that scale; None without an estimate.
        threshold: what it is held against, on that scale.
        interval: of the improvement, at the corrected level; None without an estimate, and for figures that no seed
            changes.
        p_value: two-sided, against the threshold, not corrected; None where there is no interval.
        adjusted_p_value: corrected by Holm for all claims that could be tested.
        seeds: of each variant.
        more_seeds: how many more of each variant would settle it at the next look with a chance of 80 %, if the truth
            is what was measured; 0 when settled, None where no number of seeds (up to 200) would.
    """

    claim: Claim
    answer: Answer
    reason: str
    scale: Scale
    improvement: float | None
    threshold: float
    interval: Interval | None
    p_value: float | None
    adjusted_p_value: float | None
    seeds: tuple[int, ...]
    more_seeds: int | None
