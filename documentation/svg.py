"""A drawing as SVG text: rectangles, lines and words on a light card, legible on a light and on a dark page."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Literal

INK, MUTED, FAINT, CARD = "#1f2328", "#5b6470", "#dfe3e8", "#ffffff"
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
"""Colours that colour-blind readers tell apart (Okabe & Ito 2008)."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
Anchor = Literal["start", "middle", "end"]


@dataclass
class Drawing:
    """Shapes in the order drawn, in units of CSS pixels.

    Attributes:
        width: of the card.
        height: of the card.
        title: what a screen reader says.
    """

    width: float
    height: float
    title: str
    shapes: list[str] = field(default_factory=list)

    def rect(self, x: float, y: float, width: float, height: float, fill: str, *, stroke: str = "none") -> None:
        """A filled rectangle."""
        place = f'x="{x:.4g}" y="{y:.4g}" width="{width:.4g}" height="{height:.4g}"'
        self.shapes.append(f'<rect {place} fill="{fill}" stroke="{stroke}"/>')

    def cells(self, corners: list[tuple[float, float]], width: float, height: float, fill: str) -> None:
        """Many rectangles of one size and colour, as one shape."""
        path = "".join(f"M{x:.5g} {y:.5g}h{width:g}v{height:g}h-{width:g}z" for x, y in corners)
        self.shapes.append(f'<path d="{path}" fill="{fill}"/>')

    def line(self, points: list[tuple[float, float]], colour: str, *, width: float = 1.5, dash: str = "none") -> None:
        """A line through points."""
        path = " ".join(f"{x:.5g},{y:.5g}" for x, y in points)
        style = f'stroke="{colour}" stroke-width="{width:g}" stroke-dasharray="{dash}"'
        self.shapes.append(f'<polyline points="{path}" fill="none" {style}/>')

    def dot(self, x: float, y: float, radius: float, fill: str) -> None:
        """A filled circle."""
        self.shapes.append(f'<circle cx="{x:.5g}" cy="{y:.5g}" r="{radius:g}" fill="{fill}"/>')

    def words(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 13,
        colour: str = INK,
        anchor: Anchor = "start",
        bold: bool = False,
    ) -> None:
        """One line of text, its baseline at y."""
        weight = ' font-weight="600"' if bold else ""
        style = f'font-size="{size:g}" fill="{colour}" text-anchor="{anchor}"{weight}'
        self.shapes.append(f'<text x="{x:.5g}" y="{y:.5g}" {style}>{escape(text)}</text>')

    def __str__(self) -> str:
        box = f"0 0 {self.width:g} {self.height:g}"
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img" font-family="{FONT}">'
        card = f'<rect width="{self.width:g}" height="{self.height:g}" rx="6" fill="{CARD}"/>'
        return "\n".join([head, f"<title>{escape(self.title)}</title>", card, *self.shapes, "</svg>", ""])
