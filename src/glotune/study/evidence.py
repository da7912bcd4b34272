"""What the runs of a study say about its claims: scores and costs of each variant, by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from glotune.errors import UserError
from glotune.evidence.claims import ClaimAnswer, Variant, Weighed, decide, not_tested, weigh
from glotune.evidence.leaks import without_leaks
from glotune.evidence.validity import common_languages, refuse_different_tests, refuse_mixed_training
from glotune.recipe.study import StudyClaim
from glotune.report.conditions import conditions_of
from glotune.run.data import RunData
from glotune.run.records import Verdict
from glotune.study.execute import HOPELESS
from glotune.study.plan import StudyPlan, as_claim

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
    plan: StudyPlan,
    runs: Sequence[RunData],
    results: Costs,
    failed: Mapping[str, str],
    *,
    level: float | None = None,
    next_level: float | None = None,
    withdrawn: Sequence[StudyClaim] = (),
) -> tuple[ClaimAnswer, ...]:
    """The answers to all claims of a study, corrected together, each with the conditions that its runs stand under.

    Args:
        plan: of the study.
        runs: what is compared: finished runs, or their pooled folds.
        results: what each run cost.
        failed: run -> why it has no result.
        level: of this look at the claims; the study's otherwise.
        next_level: of the look that more seeds would be; that of this one otherwise.
        withdrawn: claims that stand no more but are tested beside the others; their answers come last.

    Raises:
        UserError: runs that can't be compared or pooled, or whose files are not what they wrote. A single claim that
            can't be tested as stated is answered so.
    """
    for name in plan.resolved.variants:
        refuse_mixed_training(name, [run for run in runs if run.name == name] or runs[:1])
    split = _split(runs)
    questions = [_question(claim, plan, runs, split) for claim in (*plan.resolved.study.claims, *withdrawn)]
    compared = sorted({code for each in questions for code in each.languages})
    if compared:
        refuse_different_tests(runs, split, compared, by_records=True)

    def answered(counted: Sequence[RunData]) -> tuple[ClaimAnswer, ...]:
        weighed = [_weighed(each, plan, counted, results, failed) for each in questions]
        return decide(weighed, plan.resolved.study.level if level is None else level, next_level)

    found = answered(runs)
    clean = without_leaks(runs, split, compared) if compared else None
    if clean is not None:
        pairs = zip(questions, found, answered(clean), strict=True)
        found = tuple(_with_and_without(one, other) if each.languages else one for each, one, other in pairs)
    return tuple(
        replace(answer, reason=answer.reason + _conditions(each.claim, runs, split, each.languages))
        for each, answer in zip(questions, found, strict=True)
    )


@dataclass(frozen=True)
class _Question:
    claim: StudyClaim
    split: str
    languages: list[str]
    """That it is about; none for a time or a size."""
    obstacle: str | None = None
    """Why it can't be asked of these runs."""


def _question(claim: StudyClaim, plan: StudyPlan, runs: Sequence[RunData], split: str) -> _Question:
    gone = [name for name in claim.variants if name not in plan.resolved.variants]
    if gone:
        return _Question(claim, split, [], f"'{gone[0]}' is no variant of the study any more")
    if claim.metric in MEASURED:
        return _Question(claim, split, [])
    try:
        return _Question(claim, split, claim_languages(claim, plan, runs, split))
    except UserError as error:
        return _Question(claim, split, [], str(error))


def _weighed(
    question: _Question, plan: StudyPlan, runs: Sequence[RunData], results: Costs, failed: Mapping[str, str]
) -> ClaimAnswer | Weighed:
    """What a claim is held against. One that makes no sense leaves the others their answers."""
    claim = question.claim
    asked = as_claim(claim)
    if question.obstacle is not None:
        return not_tested(asked, question.obstacle)
    known = {name: _variant(question, name, plan, runs, results, failed) for name in plan.resolved.variants}
    own = [known[name] for name in claim.variants]
    try:
        return weigh(asked, own, list(known.values()))
    except UserError as error:
        return not_tested(asked, str(error), own)


def _split(runs: Sequence[RunData]) -> str:
    return "test" if all(run.languages("test") for run in runs) else "validation"


def _with_and_without(found: ClaimAnswer, clean: ClaimAnswer) -> ClaimAnswer:
    """The answer over all texts, held to that without the texts that stand in an earlier split: it must survive it."""
    without = f"Without the texts that leaked from training it is {clean.answer}: {clean.reason}"
    if found.answer == clean.answer:
        return replace(found, reason=f"{found.reason} {without}")
    return replace(
        found,
        answer="inconclusive",
        reason=f"With texts that leaked from training {found.answer}: {found.reason} {without}",
    )


def _conditions(claim: StudyClaim, runs: Sequence[RunData], split: str, languages: Sequence[str]) -> str:
    """What the runs of a claim saw or were given, behind its answer; of times and sizes only that they restarted."""
    own = [run for run in runs if run.name in claim.variants]
    said = dict.fromkeys(
        (run.name, each.sentence)
        for run, found in zip(own, conditions_of(own, split, languages), strict=True)
        for each in found
        if not each.is_leak and (claim.metric not in MEASURED or each.word == "restarted")
    )
    return "".join(f" Mind '{name}': {sentence}" for name, sentence in said)


def _variant(
    question: _Question, name: str, plan: StudyPlan, runs: Sequence[RunData], results: Costs, failed: Mapping[str, str]
) -> Variant:
    metric, split = question.claim.metric, question.split
    own = [run for run in runs if run.name == name]
    verdicts = [run.verdict for run in own if run.verdict is not None]
    reasons = [failed[run.name] for run in plan.runs if run.variant == name and run.name in failed]
    verdicts += [Verdict(status="diverged", evidence=[reason]) for reason in reasons if reason.startswith(HOPELESS)]
    if metric in MEASURED:
        costs = [costs_of(plan, results, name, run.manifest.seed) for run in own]
        values = [cost[metric] for cost in costs if metric in cost]
        return Variant(name, values_S=values, verdicts_S=verdicts, is_fixed=_is_fixed(metric, name, plan))
    scored = [run for run in own if run.languages("test") or run.languages("validation")]
    outcomes = [run.answered(split, question.languages) for run in scored]
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
