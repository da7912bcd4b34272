"""What the runs of a study say about its claims: scores and costs of each variant, by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from glotune.errors import UserError
from glotune.evidence.claims import Claim, ClaimAnswer, Variant, answer_claims
from glotune.evidence.validity import common_languages
from glotune.recipe.study import StudyClaim
from glotune.run.data import RunData
from glotune.run.records import Verdict
from glotune.stats.traits import trait
from glotune.study.execute import HOPELESS
from glotune.study.plan import StudyPlan

MEASURED = (
    "train_seconds",
    "seconds_per_step",
    "total_seconds",
    "texts_per_second",
    "tokens_per_second",
    "peak_memory_bytes",
    "epochs",
    "best_epoch",
    "trainable_parameters",
)
"""Metrics that a run measures about itself."""
_SUMMED = ("train_seconds", "total_seconds", "cache_seconds")
_LARGEST = ("peak_memory_bytes", "process_peak_bytes", "trainable_parameters")

Costs = Mapping[str, Mapping[str, Any]]
"""Run name -> what it cost."""


def costs_of(plan: StudyPlan, results: Costs, variant: str, seed: int) -> dict[str, float]:
    """The costs of one variant and seed; over folds times are summed, sizes the largest, the rest averaged."""
    lines = [results[run.name] for run in plan.of(variant, seed) if run.name in results]
    if not lines or len(lines) < len(plan.of(variant, seed)):
        return {}
    found: dict[str, float] = {}
    for name in {key for line in lines for key in line}:
        values = [line.get(name) for line in lines]
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
            continue
        known = [float(value) for value in values if value is not None]
        if name in _SUMMED:
            found[name] = sum(known)
        else:
            found[name] = max(known) if name in _LARGEST else sum(known) / len(known)
    return found


def answers(
    plan: StudyPlan, runs: Sequence[RunData], results: Costs, failed: Mapping[str, str]
) -> tuple[ClaimAnswer, ...]:
    """The answers to all claims of a study, corrected together.

    Args:
        plan: of the study.
        runs: what is compared: finished runs, or their pooled folds.
        results: what each run cost.
        failed: run -> why it has no result.
    """
    stated, peers = [], []
    for claim in plan.resolved.study.claims:
        known = {name: _variant(claim, name, plan, runs, results, failed) for name in plan.resolved.variants}
        stated.append(
            (Claim(claim.name, claim.form, claim.metric, claim.margin), [known[name] for name in claim.variants])
        )
        peers.append(list(known.values()))
    return answer_claims(stated, plan.resolved.study.level, peers)


def _variant(
    claim: StudyClaim, name: str, plan: StudyPlan, runs: Sequence[RunData], results: Costs, failed: Mapping[str, str]
) -> Variant:
    own = [run for run in runs if run.name == name]
    verdicts = [run.verdict for run in own if run.verdict is not None]
    reasons = [failed[run.name] for run in plan.runs if run.variant == name and run.name in failed]
    verdicts += [Verdict(status="diverged", evidence=[reason]) for reason in reasons if reason.startswith(HOPELESS)]
    if claim.metric in MEASURED:
        costs = [costs_of(plan, results, name, run.manifest.seed) for run in own]
        values = [cost[claim.metric] for cost in costs if claim.metric in cost]
        return Variant(name, values_S=values, verdicts_S=verdicts, is_fixed=_is_fixed(claim.metric, name, plan))
    trait(claim.metric.partition("[")[0])
    scored = [run for run in own if run.languages("test") or run.languages("validation")]
    split = "test" if all(run.languages("test") for run in runs) else "validation"
    if not scored:
        return Variant(name, verdicts_S=verdicts)
    languages = claim_languages(claim, plan, runs, split)
    outcomes = [run.answered(split, languages) for run in scored]
    return Variant(name, outcomes_S=outcomes, verdicts_S=verdicts)


def _is_fixed(metric: str, variant: str, plan: StudyPlan) -> bool:
    """Whether a cost follows from the recipe: the number of parameters, and of epochs where nothing stops early."""
    if metric == "epochs":
        return all(run.recipe.evaluate.patience is None for run in plan.runs if run.variant == variant)
    return metric == "trainable_parameters"


def claim_languages(claim: StudyClaim, plan: StudyPlan, runs: Sequence[RunData], split: str) -> list[str]:
    """The languages that a claim is about: its own choice, or the study's.

    Raises:
        UserError: a language that was not tested.
    """
    wanted = claim.language or plan.resolved.study.language
    if wanted == "source":
        sources = {language for run in runs for language in run.manifest.source_languages}
        tested = [language for language in runs[0].languages(split) if language in sources]
        if not tested:
            raise UserError("no source language was tested", where=f"claim '{claim.name}'")
        return tested
    return common_languages(list(runs), split, wanted)
