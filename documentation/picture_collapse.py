"""The scores of answering one class, over the share of that class."""

from __future__ import annotations

from documentation.svg import BLUE, FAINT, GREEN, INK, MUTED, VERMILLION, Drawing
from glotune.evidence.collapse import one_class_scores

CLASSES, MARKED = 3, 0.44437
LEFT, TOP, WIDTH, HEIGHT = 60.0, 24.0, 420.0, 240.0


def collapse() -> Drawing:
    """Accuracy, weighted-F1 and macro-F1 of a model that answers one of three classes."""
    drawing = Drawing(760, 320, f"Scores of answering one of {CLASSES} classes, by the share of that class")
    for tick in range(0, 11, 2):
        y = _y(tick / 10)
        drawing.line([(LEFT, y), (LEFT + WIDTH, y)], FAINT, width=1)
        drawing.words(LEFT - 8, y + 4, f"{tick / 10:.1f}", size=11, colour=MUTED, anchor="end")
        drawing.words(_x(tick / 10), TOP + HEIGHT + 18, f"{tick / 10:.1f}", size=11, colour=MUTED, anchor="middle")
    shares = [step / 50 for step in range(1, 51)]
    scores = [one_class_scores(share, CLASSES) for share in shares]
    marked = one_class_scores(MARKED, CLASSES)
    drawing.line([(_x(MARKED), TOP), (_x(MARKED), TOP + HEIGHT)], MUTED, width=1, dash="4 3")
    for row, (name, colour) in enumerate((("accuracy", VERMILLION), ("weighted_f1", GREEN), ("macro_f1", BLUE))):
        values = [getattr(each, name) for each in scores]
        drawing.line([(_x(share), _y(value)) for share, value in zip(shares, values, strict=True)], colour, width=2.5)
        value = getattr(marked, name)
        drawing.dot(_x(MARKED), _y(value), 4, colour)
        drawing.rect(510, 74 + 26 * row, 14, 4, colour)
        drawing.words(532, 82 + 26 * row, f"{name.replace('_f1', '-F1')}: {value:.4f} at the line", size=13)
    words = f"share of the answered class (line: {MARKED})"
    drawing.words(LEFT + WIDTH / 2, TOP + HEIGHT + 40, words, size=12, colour=INK, anchor="middle")
    drawing.words(510, 48, f"One of {CLASSES} classes for every text", bold=True)
    return drawing


def _x(share: float) -> float:
    return LEFT + WIDTH * share


def _y(value: float) -> float:
    return TOP + HEIGHT * (1 - value)
