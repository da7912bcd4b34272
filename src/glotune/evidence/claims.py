"""Claims of a study and their answers: supported, refuted or inconclusive.

Three forms, all about an *improvement* oriented so that positive is better:

- ``superior``: candidate over reference by more than `margin`;
- ``non_inferior``: candidate at most `margin` worse than reference;
- ``interaction``: (a over b) minus (c over d) by more than `margin`.

Scores compare by difference. Times, sizes and speeds compare by ratio, on the log scale: there the
margin is a factor, 1.5 for "at least 1.5 times as fast" and 1.25 for "at least 20 % less memory".

A claim is supported when the whole interval lies beyond the threshold, refuted when the whole
interval lies short of it. The claims of one study are corrected together by Holm's method: each
interval has the level at which its claim was tested, so interval and answer never disagree. In
simulation, with 3 to 5 seeds and all claims false by a hair, the chance that any of them is
supported stays under the stated level (tests/simulation).

What no seed changes, such as a number of parameters, is compared as it stands: without interval and
p-value, and outside Holm's correction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from glotune.evidence.claim_evidence import (
    check_claim,
    claim_contrast,
    claim_threshold,
    count_runs,
    fixed_range,
    is_fixed,
    is_ratio,
    obstacle_to,
    values_by_seed,
)
from glotune.evidence.claim_records import Answer, Claim, ClaimAnswer, Form, Variant
from glotune.run.records import Interval
from glotune.stats.contrasts import MOST_SEEDS, Contrast, seeds_to_settle
from glotune.stats.resampling import LEVEL
from glotune.stats.seed_scores import uneven_spread

__all__ = [
    "Answer",
    "Claim",
    "ClaimAnswer",
    "Form",
    "Variant",
    "Weighed",
    "answer_claims",
    "decide",
    "not_tested",
    "weigh",
]

SEEDS_TO_START = 3
UNSTABLE = (
    "of a variant with a bad seed now and then, a few seeds often show only good ones, and in about a fifth of such "
    "comparisons (simulated; at worst half) it seems better where it is not"
)
"""What tests/simulation found of unequal spreads."""
ROUNDING = 1e-9
"""Fixed figures nearer than this to the threshold lie on it."""


@dataclass(frozen=True, eq=False)
class Weighed:
    """A claim that can be tested: its contrast, before the claims of a study are corrected together."""

    claim: Claim
    variants: Sequence[Variant]
    contrast: Contrast
    threshold: float
    p_value: float


def answer_claims(
    claims: Sequence[tuple[Claim, Sequence[Variant]]],
    level: float = LEVEL,
    peers: Sequence[Sequence[Variant]] | None = None,
) -> tuple[ClaimAnswer, ...]:
    """Answer all claims of a study together.

    Args:
        claims: each with its variants in the order of its form: candidate and reference, or a, b, c, d.
        level: one minus the chance that any false claim is supported.
        peers: for each claim as for `weigh`; None: each variant stands for itself.

    Raises:
        UserError: as `weigh`.
    """
    lending: Sequence[Sequence[Variant]] = peers or [()] * len(claims)
    return decide([weigh(*claim, lent) for claim, lent in zip(claims, lending, strict=True)], level)


def weigh(claim: Claim, variants: Sequence[Variant], peers: Sequence[Variant] = ()) -> ClaimAnswer | Weighed:
    """What one claim is held against; already its answer where there is nothing to test.

    Args:
        claim: as stated.
        variants: in the order of its form.
        peers: all variants of the study with its metric, from whose spread over seeds its own variants borrow
            (`glotune.stats.seed_prior`).

    Raises:
        UserError: a claim with the wrong number of variants, a metric that does not exist or does not
            fit what was measured, a negative margin, or runs that don't answer the same texts.
    """
    check_claim(claim, [variant.name for variant in variants])
    obstacle = obstacle_to(claim, variants)
    if obstacle is not None:
        return not_tested(claim, obstacle, variants)
    if is_fixed(claim, variants):
        return _compared(claim, variants)
    found, threshold = claim_contrast(claim, variants, peers), claim_threshold(claim)
    return Weighed(claim, variants, found, threshold, float(found.p_value(threshold)))


def decide(
    weighed: Sequence[ClaimAnswer | Weighed], level: float = LEVEL, next_level: float | None = None
) -> tuple[ClaimAnswer, ...]:
    """The answers, in the same order: those that are tested corrected together by Holm's method.

    Args:
        level: see `answer_claims`.
        next_level: the same for the next test, on more seeds, by which their number is reckoned; None: as now.
    """
    answers = {place: each for place, each in enumerate(weighed) if isinstance(each, ClaimAnswer)}
    tests = [(place, each) for place, each in enumerate(weighed) if isinstance(each, Weighed)]
    tests.sort(key=lambda each: each[1].p_value)
    rejecting, adjusted = True, 0.0
    allowed = 1.0 - level
    left = 1.0 if next_level is None or level == 1.0 else (1.0 - next_level) / (1.0 - level)
    for before, (place, test) in enumerate(tests):
        if rejecting:  # after the first failure every later claim is shown at the level that failed
            allowed = (1.0 - level) / (len(tests) - before)
            rejecting = test.p_value <= allowed
        adjusted = max(adjusted, min(1.0, test.p_value * (len(tests) - before)))
        answers[place] = _answer(test, rejecting, 1.0 - allowed, 1.0 - allowed * left, adjusted)
    return tuple(answers[place] for place in range(len(weighed)))


def _answer(test: Weighed, decided: bool, level: float, next_level: float, adjusted: float) -> ClaimAnswer:
    estimate, half = float(test.contrast.estimate), float(test.contrast.half_width(level))
    answer: Answer = "inconclusive"
    if decided:
        answer = "supported" if estimate > test.threshold else "refuted"
    seeds = tuple(count_runs(test.claim, test.variants))
    more = 0 if decided else seeds_to_settle(test.contrast, seeds, test.threshold, next_level)
    shown = _factor if is_ratio(test.claim) else float
    found = ClaimAnswer(
        claim=test.claim,
        answer=answer,
        reason="",
        scale=test.claim.trait.scale,
        improvement=shown(estimate),
        threshold=shown(test.threshold),
        interval=Interval(low=shown(estimate - half), high=shown(estimate + half), level=level),
        p_value=test.p_value,
        adjusted_p_value=adjusted,
        seeds=seeds,
        more_seeds=more,
    )
    return replace(found, reason=_sentence(found, test.variants, bool(test.contrast.text_variance > 0)))


def _compared(claim: Claim, variants: Sequence[Variant]) -> ClaimAnswer:
    """The answer about figures that no seed changes: the least favourable seeds must meet the claim as well."""
    low, mean, high = fixed_range(claim, variants)
    threshold = claim_threshold(claim)
    held = threshold + (-ROUNDING if claim.form == "non_inferior" else ROUNDING)
    answer: Answer = "supported" if low > held else "refuted" if high <= held else "inconclusive"
    shown = _factor if is_ratio(claim) else float
    found = ClaimAnswer(
        claim=claim,
        answer=answer,
        reason="",
        scale=claim.trait.scale,
        improvement=shown(mean),
        threshold=shown(threshold),
        interval=None,
        p_value=None,
        adjusted_p_value=None,
        seeds=tuple(count_runs(claim, variants)),
        more_seeds=0,
    )
    is_same = high - low <= ROUNDING
    spread = "" if is_same else f", {shown(low):.3g} to {shown(high):.3g} over the seeds"
    held_against = "at least" if claim.form == "non_inferior" else "above"
    why = "No seed changes it" if is_same else "It is counted, not estimated"
    reason = (
        f"{_subject(found, variants)}: {_amount(found, shown(mean))}{spread}; claimed: {held_against} "
        f"{_threshold(found)}. {why}: there is nothing to test."
    )
    return replace(found, reason=reason)


def _factor(logarithm: float) -> float:
    """The factor of a logarithm; infinite where no float holds it: two seeds leave the interval of a late look open."""
    try:
        return math.exp(logarithm)
    except OverflowError:
        return math.inf


def _sentence(found: ClaimAnswer, variants: Sequence[Variant], test_texts: bool) -> str:
    if found.interval is None or found.improvement is None:
        raise ValueError("a sentence of figures needs figures")
    value, reach, held = _figures(found, found.improvement, found.interval)
    text = (
        f"{_subject(found, variants)}: {value}, {100 * found.interval.level:.3g} % interval {reach}; "
        f"claimed: above {held}."
    )
    text += _warning(found.claim, variants)
    if found.answer != "inconclusive":
        return text
    if found.more_seeds is None:
        remedy = (
            "More test texts or a larger effect would have to." if test_texts else "It is too near to the threshold."
        )
        return f"{text} {MOST_SEEDS} more seeds of each variant would not settle it. {remedy}"
    return f"{text} About {found.more_seeds} more seeds of each variant would settle it."


def _warning(claim: Claim, variants: Sequence[Variant]) -> str:
    """Where the seeds of one variant scatter much farther than those of another."""
    ratio = None if is_ratio(claim) else uneven_spread(values_by_seed(claim, variants))
    if ratio is None:
        return ""
    if math.isfinite(ratio):
        return f" Warning: one variant's seeds scatter {ratio:.0f} times as far as another's; {UNSTABLE}."
    return f" Warning: one variant's seeds scatter, another's not at all; {UNSTABLE}."


def _subject(found: ClaimAnswer, variants: Sequence[Variant]) -> str:
    """The metric, and which variants are compared."""
    names = " over ".join(f"'{variant.name}'" for variant in variants[:2])
    if found.claim.form == "interaction":
        names = f"({names}) minus ({' over '.join(repr(variant.name) for variant in variants[2:])})"
    return f"{found.claim.trait.display}, {names}"


def _figures(found: ClaimAnswer, improvement: float, interval: Interval) -> tuple[str, str, str]:
    """The improvement, its interval and what it is held against, in words."""
    if found.scale == "ratio":
        reach = f"{interval.low:.3g} to {interval.high:.3g}"
    else:
        scale = 100 if found.claim.trait.is_percent else 1
        reach = f"{scale * interval.low:+.2f} to {scale * interval.high:+.2f}"
    return _amount(found, improvement), reach, _threshold(found)


def _amount(found: ClaimAnswer, improvement: float) -> str:
    if found.scale == "ratio":
        return f"a factor of {improvement:.3g} (above 1 is better)"
    scale, unit = (100, " points") if found.claim.trait.is_percent else (1, "")
    value = f"{scale * improvement:+.2f}{unit}"
    return value if found.claim.trait.higher_is_better else f"{value} (positive is better)"


def _threshold(found: ClaimAnswer) -> str:
    if found.scale == "ratio":
        return f"{found.threshold:.3g}"
    scale = 100 if found.claim.trait.is_percent else 1
    return f"{scale * found.threshold:+.2f}" if found.threshold else "0"


def not_tested(claim: Claim, why: str, variants: Sequence[Variant] = ()) -> ClaimAnswer:
    """The answer where there is nothing to test, or where the claim can't be tested as it is stated."""
    seeds = tuple(count_runs(claim, variants)) if variants else ()
    unsound = any(not verdict.is_sound for variant in variants for verdict in variant.verdicts_S)
    margin = (1.0 if is_ratio(claim) else 0.0) if claim.margin is None else claim.margin
    if claim.form == "non_inferior":
        margin = 1.0 / margin if is_ratio(claim) and margin else -margin
    return ClaimAnswer(
        claim=claim,
        answer="inconclusive",
        reason=f"Not tested: {why.rstrip('.')}.",
        scale=claim.trait.scale,
        improvement=None,
        threshold=margin,
        interval=None,
        p_value=None,
        adjusted_p_value=None,
        seeds=seeds,
        more_seeds=None if unsound or not seeds else max(0, SEEDS_TO_START - min(seeds)),
    )
