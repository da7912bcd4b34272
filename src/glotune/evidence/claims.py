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
    is_ratio,
    obstacle_to,
)
from glotune.evidence.claim_records import Answer, Claim, ClaimAnswer, Form, Variant
from glotune.run.records import Interval
from glotune.stats.contrasts import MOST_SEEDS, Contrast, seeds_to_settle
from glotune.stats.resampling import LEVEL

__all__ = ["Answer", "Claim", "ClaimAnswer", "Form", "Variant", "answer_claims"]

SEEDS_TO_START = 3


@dataclass(frozen=True, eq=False)
class _Test:
    index: int
    claim: Claim
    variants: Sequence[Variant]
    contrast: Contrast
    threshold: float
    p_value: float


def answer_claims(claims: Sequence[tuple[Claim, Sequence[Variant]]], level: float = LEVEL) -> tuple[ClaimAnswer, ...]:
    """Answer all claims of a study together.

    Args:
        claims: each with its variants in the order of its form: candidate and reference, or a, b, c, d.
        level: one minus the chance that any false claim is supported.

    Raises:
        UserError: a claim with the wrong number of variants, a metric that does not exist or does not
            fit what was measured, a negative margin, or runs that don't answer the same texts.
    """
    answers: dict[int, ClaimAnswer] = {}
    tests: list[_Test] = []
    for index, (claim, variants) in enumerate(claims):
        check_claim(claim, variants)
        obstacle = obstacle_to(claim, variants)
        if obstacle is not None:
            answers[index] = _unanswered(claim, variants, obstacle)
            continue
        found, threshold = claim_contrast(claim, variants), claim_threshold(claim)
        tests.append(_Test(index, claim, variants, found, threshold, float(found.p_value(threshold))))
    tests.sort(key=lambda test: test.p_value)
    rejecting, adjusted = True, 0.0
    allowed = 1.0 - level
    for place, test in enumerate(tests):
        if rejecting:  # after the first failure every later claim is shown at the level that failed
            allowed = (1.0 - level) / (len(tests) - place)
            rejecting = test.p_value <= allowed
        adjusted = max(adjusted, min(1.0, test.p_value * (len(tests) - place)))
        answers[test.index] = _answer(test, rejecting, 1.0 - allowed, adjusted)
    return tuple(answers[index] for index in range(len(claims)))


def _answer(test: _Test, decided: bool, level: float, adjusted: float) -> ClaimAnswer:
    estimate, half = float(test.contrast.estimate), float(test.contrast.half_width(level))
    answer: Answer = "inconclusive"
    if decided:
        answer = "supported" if estimate > test.threshold else "refuted"
    seeds = tuple(count_runs(test.claim, test.variants))
    more = 0 if decided else seeds_to_settle(test.contrast, seeds, test.threshold, level)
    shown = math.exp if is_ratio(test.claim) else float
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


def _sentence(found: ClaimAnswer, variants: Sequence[Variant], test_texts: bool) -> str:
    if found.interval is None or found.improvement is None:
        raise ValueError("a sentence of figures needs figures")
    names = " over ".join(f"'{variant.name}'" for variant in variants[:2])
    if found.claim.form == "interaction":
        names = f"({names}) minus ({' over '.join(repr(variant.name) for variant in variants[2:])})"
    value, reach, held = _figures(found, found.improvement, found.interval)
    text = (
        f"{found.claim.trait.display}, {names}: {value}, {100 * found.interval.level:.3g} % interval {reach}; "
        f"claimed: above {held}."
    )
    if found.answer != "inconclusive":
        return text
    if found.more_seeds is None:
        remedy = (
            "More test texts or a larger effect would have to." if test_texts else "It is too near to the threshold."
        )
        return f"{text} {MOST_SEEDS} more seeds of each variant would not settle it. {remedy}"
    return f"{text} About {found.more_seeds} more seeds of each variant would settle it."


def _figures(found: ClaimAnswer, improvement: float, interval: Interval) -> tuple[str, str, str]:
    """The improvement, its interval and what it is held against, in words."""
    if found.scale == "ratio":
        value = f"a factor of {improvement:.3g} (above 1 is better)"
        return value, f"{interval.low:.3g} to {interval.high:.3g}", f"{found.threshold:.3g}"
    scale, unit = (100, " points") if found.claim.trait.is_percent else (1, "")
    value = f"{scale * improvement:+.2f}{unit}"
    if not found.claim.trait.higher_is_better:
        value += " (positive is better)"
    held = f"{scale * found.threshold:+.2f}" if found.threshold else "0"
    return value, f"{scale * interval.low:+.2f} to {scale * interval.high:+.2f}", held


def _unanswered(claim: Claim, variants: Sequence[Variant], obstacle: str) -> ClaimAnswer:
    shown = math.exp if is_ratio(claim) else float
    seeds = count_runs(claim, variants)
    unsound = any(not verdict.is_sound for variant in variants for verdict in variant.verdicts_S)
    return ClaimAnswer(
        claim=claim,
        answer="inconclusive",
        reason=f"Not tested: {obstacle}.",
        scale=claim.trait.scale,
        improvement=None,
        threshold=shown(claim_threshold(claim)),
        interval=None,
        p_value=None,
        adjusted_p_value=None,
        seeds=tuple(seeds),
        more_seeds=None if unsound else max(0, SEEDS_TO_START - min(seeds)),
    )
