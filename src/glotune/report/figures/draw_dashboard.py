"""Draws the dashboard: up to six panels under a headline."""

from __future__ import annotations

from typing import Any

from glotune.report.figures import style
from glotune.report.figures.data import Dashboard
from glotune.report.figures.draw_curves import draw_curves, draw_rate
from glotune.report.figures.draw_dots import draw_dots, draw_gaps
from glotune.report.figures.draw_panels import class_names, confusion_panel

MAX_ROWS = 12


def size_of_dashboard(data: Dashboard) -> tuple[float, float]:
    """Two columns; the dot plots set the height."""
    rows = max(len(data.results.rows) if data.results else 0, len(data.gaps.rows) if data.gaps else 0)
    return style.WIDTH_IN, 9.4 + 0.18 * max(0, min(rows, 2 * MAX_ROWS) - 6)


def draw_dashboard(figure: Any, data: Dashboard) -> None:
    """Losses, F1, scores, gaps, confusion and rate; a panel without data is left out.

    Of an odd number the first takes both columns: no place stays empty.
    """
    panels: list[Any] = []
    if data.losses:
        panels.append(lambda ax: draw_curves(ax, _required(data.losses), compact=True))
    if data.scores:
        panels.append(lambda ax: draw_curves(ax, _required(data.scores), compact=True))
    if data.results:
        panels.append(lambda ax: _results(ax, data))
    if data.gaps:
        panels.append(lambda ax: draw_gaps(ax, _required(data.gaps), compact=True))
    if data.confusion:
        panels.append(lambda ax: confusion_panel(ax, _required(data.confusion), class_names(data.labels), compact=True))
    if data.learning_rate:
        panels.append(lambda ax: draw_rate(ax, _required(data.learning_rate), compact=True))
    rows = (len(panels) + 1) // 2
    figure.set_size_inches(style.WIDTH_IN, size_of_dashboard(data)[1] * rows / 3 + 0.5)
    grid = figure.add_gridspec(rows, 2)
    odd = len(panels) % 2
    places = [grid[0, :]] * odd + [grid[place // 2, place % 2] for place in range(2 * odd, 2 * rows)]
    for place, panel in zip(places, panels, strict=True):
        panel(figure.add_subplot(place))
    _headline(figure, data)


def _required(value: Any) -> Any:
    return value


def _results(ax: Any, data: Dashboard) -> None:
    draw_dots(ax, _required(data.results), compact=True)
    results = _required(data.results)
    if len(results.columns) > 1:
        ax.set_title("Scores by language")
        ax.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(results.columns), fontsize=7, handletextpad=0.1,
            columnspacing=1.0, borderpad=0.2,
        )  # fmt: skip
    else:
        ax.set_title(f"{results.columns[0]} by language")


def _headline(figure: Any, data: Dashboard) -> None:
    colour = style.VERDICT_COLOURS.get(data.verdict, style.MUTED)
    figure.suptitle(f"{data.name}: {data.verdict}\n", x=0.012, ha="left", fontsize=14, fontweight="bold", color=colour)
    height = figure.get_figheight()
    figure.text(
        0.012, 1 - 0.42 / height, "  ·  ".join(data.facts), fontsize=9, color=style.MUTED, ha="left", va="center"
    )
