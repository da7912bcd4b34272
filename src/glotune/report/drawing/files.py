"""Draws any figure with matplotlib, the dashboard as a grid of the others, and writes it as PNG and SVG."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from glotune.report.drawing import curves, dots, panels, style
from glotune.report.figures import model
from glotune.report.figures.build import CAPTIONS, FigureFile
from glotune.report.figures.model import Dashboard, FigureData
from glotune.run.directory import write_atomically

MAX_ROWS = 12
"""Of a dot plot on the dashboard that its height grows with."""


def draw(data: FigureData) -> Any:
    """A matplotlib figure, drawn without any window system or global state."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size, painter = _painter(data)
    with rc_context(style.RC):
        figure = Figure(figsize=size, layout="constrained", dpi=style.DPI)
        FigureCanvasAgg(figure)
        painter(figure)
        return figure


def _painter(data: FigureData) -> tuple[tuple[float, float], Callable[[Any], None]]:
    if isinstance(data, model.CurvePanels):
        return curves.size_of_curves(data), partial(curves.draw_curve_panels, data=data)
    if isinstance(data, model.LearningRate):
        return (style.WIDTH_IN, 4.4), partial(curves.draw_learning_rate, data=data)
    if isinstance(data, model.DotPanels):
        return dots.size_of_dots(data), partial(dots.draw_dot_panels, data=data)
    if isinstance(data, model.TransferGaps):
        return dots.size_of_gaps(data), partial(dots.draw_gap_figure, data=data)
    if isinstance(data, model.RocCurves):
        return panels.size_of_panels(data), partial(panels.draw_roc, data=data)
    if isinstance(data, model.ConfusionMatrices):
        return panels.size_of_panels(data), partial(panels.draw_confusion, data=data)
    if isinstance(data, model.Cooccurrence):
        return panels.size_of_panels(data), partial(panels.draw_cooccurrence, data=data)
    if isinstance(data, model.Scatter):
        return panels.size_of_panels(data), partial(panels.draw_scatter, data=data)
    if isinstance(data, model.Slices):
        return panels.size_of_panels(data), partial(panels.draw_slices, data=data)
    if isinstance(data, model.Calibration):
        return panels.size_of_panels(data), partial(panels.draw_calibration, data=data)
    return size_of_dashboard(data), partial(draw_dashboard, data=data)


def write_figures(
    figures: dict[str, FigureData], folder: Path, captions: dict[str, str] = CAPTIONS
) -> list[FigureFile]:
    """Draws each figure to ``NAME.png`` and ``NAME.svg``; the same data gives the same bytes."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, data in figures.items():
        figure = draw(data)
        file = FigureFile(name, captions[name], folder / f"{name}.png", folder / f"{name}.svg")
        with rc_context(style.RC):
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once, for both files
            # The canvases' own printing: savefig would draw each file a second time to lay it out again.
            png, svg = io.BytesIO(), io.BytesIO()
            FigureCanvasAgg(figure).print_png(png, metadata={"Software": "glotune"})
            FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": "glotune"})
        write_atomically(file.png, png.getvalue())
        write_atomically(file.svg, svg.getvalue())
        written.append(file)
    return written


def size_of_dashboard(data: Dashboard) -> tuple[float, float]:
    """Two columns; the dot plots set the height."""
    rows = max(len(data.results.rows) if data.results else 0, len(data.gaps.rows) if data.gaps else 0)
    return style.WIDTH_IN, 9.4 + 0.18 * max(0, min(rows, 2 * MAX_ROWS) - 6)


def draw_dashboard(figure: Any, data: Dashboard) -> None:
    """Losses, F1, scores, gaps, confusion and rate; a panel without data is left out.

    Of an odd number the first takes both columns: no place stays empty.
    """
    parts: list[Callable[[Any], None]] = []
    if data.losses:
        parts.append(partial(curves.draw_curves, data=data.losses, compact=True))
    if data.scores:
        parts.append(partial(curves.draw_curves, data=data.scores, compact=True))
    if data.results:
        parts.append(partial(_results, results=data.results))
    if data.gaps:
        parts.append(partial(dots.draw_gaps, data=data.gaps, compact=True))
    if data.confusion:
        names = panels.class_names(data.labels)
        parts.append(partial(panels.confusion_panel, panel=data.confusion, names=names, compact=True))
    if data.by_label:
        parts.append(partial(dots.draw_labels, data=data.by_label))
    if data.scatter:
        parts.append(partial(panels.scatter_panel, panel=data.scatter.panels[0], data=data.scatter))
    if data.learning_rate:
        parts.append(partial(curves.draw_rate, data=data.learning_rate, compact=True))
    rows = (len(parts) + 1) // 2
    figure.set_size_inches(style.WIDTH_IN, size_of_dashboard(data)[1] * rows / 3 + 0.5)
    grid = figure.add_gridspec(rows, 2)
    odd = len(parts) % 2
    places = [grid[0, :]] * odd + [grid[place // 2, place % 2] for place in range(2 * odd, 2 * rows)]
    for place, part in zip(places, parts, strict=True):
        part(figure.add_subplot(place))
    _headline(figure, data)


def _results(ax: Any, results: model.Dots) -> None:
    dots.draw_dots(ax, results, compact=True)
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
