"""How figures look: colours that colour-blind readers tell apart, sizes for a README column of 830 pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

WIDTH_IN = 8.3
DPI = 200
"""1,660 pixels drawn for 830 shown: sharp on dense screens."""

INK = "#1f2328"
MUTED = "#6b7280"
FAINT = "#d0d5db"
GRID = "#e7eaee"

# Okabe & Ito (2008), "Color Universal Design", without yellow (too pale on white) and black (text).
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES: tuple[Any, ...] = ("-", (0, (2, 1)))
"""Names beyond the palette take its colours again, broken."""

BETWEEN_WORDS = re.compile(r"[-_ .]")


class Look(NamedTuple):
    """How a line is drawn."""

    colour: str
    marker: str
    line: Any
    """matplotlib's line style."""


DARK_GREEN, DARK_ORANGE = "#00785A", "#8F6200"
"""Dark enough on white for words (contrast above 4.5)."""
VERDICT_COLOURS = {
    "sound": DARK_GREEN, "improving": BLUE, "overfit": DARK_ORANGE, "collapsed": VERMILLION, "diverged": VERMILLION,
    "no skill": VERMILLION,
}  # fmt: skip

RC: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "glotune",
    "path.simplify": True,
    "text.parse_math": False,  # a label with two dollar signs is a label, not a formula
}


UNNAMED = Look(MUTED, "o", "-")
LOOKS = tuple(Look(colour, marker, line) for line in LINES for colour, marker in zip(PALETTE, MARKERS, strict=True))
"""As many as readers can tell apart."""


def looks_of(names: list[str]) -> dict[str, Look]:
    """Name -> its look; names beyond `LOOKS` have none."""
    return dict(zip(names, LOOKS, strict=False))


def latin(text: str, fallback: str = "?") -> str:
    """Text that matplotlib can draw: anything but Latin letters is left out, for it is not shaped (see docs).

    Label names in other scripts thus appear by their class id, given as `fallback`; the page shows them whole.
    """
    import unicodedata

    kept = "".join(
        character
        for character in text
        if (character.isascii() and character.isprintable()) or "LATIN" in unicodedata.name(character, "")
    ).strip()
    return kept if sum(map(str.isalnum, kept)) >= sum(map(str.isalnum, text)) / 2 and kept else fallback


def middle(text: str, most: int) -> str:
    """At most `most` characters, cut in the middle, between words where it can be: variants differ at their ends."""
    if len(text) <= most:
        return text
    starts = [found.end() for found in BETWEEN_WORDS.finditer(text) if len(text) - found.end() <= most - 4]
    tail = text[starts[0] :] if starts else text[len(text) - most // 2 :]
    room = most - 1 - len(tail)
    ends = [found.start() for found in BETWEEN_WORDS.finditer(text) if found.start() <= room]
    return text[: ends[-1] if ends else room] + "…" + tail


def distinct(texts: Sequence[str], most: int) -> list[str]:
    """Each cut in its middle to `most` characters, or to as few more as tell those apart that are cut alike."""
    longest = max(map(len, texts), default=0)
    for reach in range(most, max(most, longest) + 1):
        cut = [middle(text, reach) for text in texts]
        if len(set(cut)) == len(set(texts)):
            return cut
    return list(texts)


def shorten(text: str, most: int = 18) -> str:
    """At most `most` characters, cut at the end."""
    return text if len(text) <= most else text[: most - 1] + "…"
