"""Percentage change between two runs, and the cases in which there is none.

Higher is better: 100 (value - reference) / reference.
Lower is better: 100 (reference - value) / reference.
Both are positive for an improvement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from glotune.run.records import Verdict
from glotune.stats.traits import trait

HIGHER_FORMULA = "100 * (value - reference) / reference"
LOWER_FORMULA = "100 * (reference - value) / reference"


@dataclass(frozen=True)
class PercentageChange:
    """`percent` is None where the comparison has no meaning, and `reason` says why."""

    percent: float | None
    reason: str | None
    formula: str


def percentage_change(
    metric: str,
    value: float | None,
    reference: float | None,
    *,
    value_verdict: Verdict | None,
    reference_verdict: Verdict | None,
) -> PercentageChange:
    """Compare `value` with `reference`, both raw.

    Raises:
        UserError: no such metric.
    """
    higher = trait(metric).higher_is_better
    formula = HIGHER_FORMULA if higher else LOWER_FORMULA
    reason = (
        _unsound("this run", value_verdict)
        or _unsound("the reference run", reference_verdict)
        or _unmeasured("this run", metric, value)
        or _unmeasured("the reference run", metric, reference)
    )
    if reason is not None or value is None or reference is None:
        return PercentageChange(None, reason, formula)
    if reference <= 0:
        return PercentageChange(None, f"the reference {metric} is {reference:g}: nothing to divide by", formula)
    change = (value - reference) / reference if higher else (reference - value) / reference
    return PercentageChange(100.0 * change, None, formula)


def _unsound(side: str, verdict: Verdict | None) -> str | None:
    if verdict is None:
        return f"{side} has no verdict"
    return None if verdict.is_sound else f"{side} {verdict.as_verb}: a change against it would mean nothing"


def _unmeasured(side: str, metric: str, value: float | None) -> str | None:
    return None if value is not None and math.isfinite(value) else f"{side} has no {metric}"
