"""Three claims about made timings, answered by the code that answers those of a study."""

from __future__ import annotations

import math

from documentation.svg import FAINT, GREEN, INK, MUTED, ORANGE, VERMILLION, Drawing
from glotune.evidence.claims import Claim, ClaimAnswer, Variant, answer_claims

REFERENCE = (200.0, 204.0, 197.0)
CANDIDATES = {
    "candidate A": (100.0, 102.0, 99.0),
    "candidate B": (152.0, 149.0, 151.0),
    "candidate C": (128.0, 104.0, 116.0),
}
"""Made seconds of three seeds each: the picture is about the answers, not about any encoder."""
COLOURS = {"supported": GREEN, "refuted": VERMILLION, "inconclusive": ORANGE}
LEFT, WIDTH, LOWEST, HIGHEST = 130.0, 400.0, 0.6, 4.0


def claims() -> Drawing:
    """Intervals of a factor against the factor that was claimed."""
    reference = Variant("whole", values_S=REFERENCE)
    asked = [
        (Claim(name, "superior", "train_seconds", 1.5), [Variant(name, values_S=seconds), reference])
        for name, seconds in CANDIDATES.items()
    ]
    drawing = Drawing(760, 230, "Three claims of being at least 1.5 times as fast: supported, refuted, inconclusive")
    drawing.words(LEFT, 26, "Claimed: at least 1.5 times as fast (dashed line)", bold=True)
    for factor in (0.75, 1.0, 1.5, 2.0, 3.0):
        dash = "5 4" if factor == 1.5 else "none"
        drawing.line([(_x(factor), 44), (_x(factor), 180)], INK if factor == 1.5 else FAINT, width=1.2, dash=dash)
        drawing.words(_x(factor), 198, f"{factor:g} ×", size=11, colour=MUTED, anchor="middle")
    for row, answer in enumerate(answer_claims(asked)):
        _interval(drawing, 70 + 42 * row, answer)
    drawing.words(
        LEFT,
        220,
        "times as fast as the reference; intervals over three seeds, corrected for three claims",
        size=11,
        colour=MUTED,
    )
    return drawing


def _interval(drawing: Drawing, y: float, answer: ClaimAnswer) -> None:
    if answer.interval is None or answer.improvement is None:
        raise ValueError(f"the claim '{answer.claim.name}' was not tested: {answer.reason}")
    colour = COLOURS[answer.answer]
    low, high = max(answer.interval.low, LOWEST), min(answer.interval.high, HIGHEST)
    drawing.line([(_x(low), y), (_x(high), y)], colour, width=4)
    drawing.dot(_x(answer.improvement), y, 6, colour)
    drawing.words(LEFT - 12, y + 4, answer.claim.name, anchor="end")
    drawing.words(LEFT + WIDTH + 24, y - 2, answer.answer, colour=colour, bold=True)
    if answer.more_seeds:
        drawing.words(
            LEFT + WIDTH + 24, y + 15, f"about {answer.more_seeds} more seeds would settle it", size=11, colour=MUTED
        )


def _x(factor: float) -> float:
    return LEFT + WIDTH * math.log(factor / LOWEST) / math.log(HIGHEST / LOWEST)
