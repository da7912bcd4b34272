"""Draws values with intervals: scores by language, stages of a run, transfer gaps."""

from __future__ import annotations

from typing import Any

from glotune.report.drawing import style
from glotune.report.figures.model import DotPanels, DotRow, Dots, Estimate, TransferGaps
from glotune.words import language_name


def size_of_dots(data: DotPanels) -> tuple[float, float]:
    """Height grows with the rows."""
    panel = data.panels[0]
    row = 0.17 * len(panel.columns) + 0.1 if len(panel.rows) <= 10 else 0.12 * len(panel.columns) + 0.05
    return style.WIDTH_IN, 1.7 + len(panel.rows) * max(0.36, row)


def draw_dot_panels(figure: Any, data: DotPanels) -> None:
    """Panels beside each other that share their rows."""
    axes = figure.subplots(1, len(data.panels), squeeze=False, sharey=True)[0]
    for ax, panel in zip(axes, data.panels, strict=True):
        draw_dots(ax, panel)
    shown: dict[str, Any] = {}
    for ax in axes:
        handles, names = ax.get_legend_handles_labels()
        shown = dict(zip(names, handles, strict=True)) | shown
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=len(shown))


def draw_dots(ax: Any, data: Dots, compact: bool = False) -> None:
    """One row per language; what it has of the columns is offset inside the row; bars are 95 % intervals.

    A column without any point is not drawn, so that no legend names it.
    """
    scale = 100.0 if data.is_percent else 1.0
    for column, name in enumerate(data.columns):
        colour, marker = style.PALETTE[column % len(style.PALETTE)], style.MARKERS[column % len(style.MARKERS)]
        points = [
            (row + _offset(each, column, len(data.columns)), each.estimates[column])
            for row, each in enumerate(data.rows)
            if each.estimates[column] is not None
        ]
        if points:
            _points(ax, points, scale, colour, marker, name, compact)
    names = (
        [_row_label(row.label, row.is_source, compact) for row in data.rows]
        if data.are_languages
        else style.distinct([style.latin(row.label) for row in data.rows], 32)
    )
    ax.set_yticks(range(len(data.rows)), names)
    ax.set_ylim(len(data.rows) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    for row in range(1, len(data.rows)):
        ax.axhline(row - 0.5, color=style.GRID, linewidth=0.8, zorder=0)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_title(data.title)
    ax.set_xlabel("%, with 95 % intervals" if data.is_percent else data.x_label)


def draw_labels(ax: Any, data: Dots) -> None:
    """Precision and recall of each label, on the dashboard."""
    draw_dots(ax, data, compact=True)
    named = " and ".join(data.columns).capitalize()
    ax.set_title(f"{named}, {style.latin(data.title)}")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(data.columns), fontsize=7)


ROW_SHARE = 0.64
"""Of a row's height that its points spread over, were there one of each column."""


def _offset(row: DotRow, column: int, columns: int) -> float:
    """Where in its row a point lies: around the middle, whatever number of the columns the row has."""
    present = [place for place, each in enumerate(row.estimates) if each is not None]
    return (present.index(column) - (len(present) - 1) / 2) * ROW_SHARE / columns


def _points(ax: Any, points: list[Any], scale: float, colour: str, marker: str, name: str, compact: bool) -> None:
    for position, each in points:
        if each.low is not None and each.high is not None:
            ax.plot([scale * each.low, scale * each.high], [position] * 2, color=colour, linewidth=1.6, alpha=0.75)
    ax.plot(
        [scale * each.value for _, each in points], [position for position, _ in points], linestyle="none",
        marker=marker, color=colour, markersize=5 if compact else 6, markeredgecolor="white",
        markeredgewidth=0.7, label=name,
    )  # fmt: skip


def _row_label(code: str, is_source: bool, compact: bool) -> str:
    name = language_name(code)
    shown = style.latin(code, "?") if compact or name == code else f"{style.shorten(name, 16)} {code}"
    return f"{shown} (source)" if is_source and not compact else shown


def size_of_gaps(data: TransferGaps) -> tuple[float, float]:
    """Height grows with the languages."""
    return style.WIDTH_IN, 1.5 + 0.38 * len(data.rows)


def draw_gap_figure(figure: Any, data: TransferGaps) -> None:
    """The figure of its own; `draw_gaps` also serves the dashboard."""
    draw_gaps(figure.subplots(), data)


def draw_gaps(ax: Any, data: TransferGaps, compact: bool = False) -> None:
    """Bars from zero with intervals; the average set apart."""
    told = "{:+.1f}" if data.is_percent else "{:+.3f}"
    for place, row in enumerate(data.rows):
        colour = style.MUTED if row.is_average else style.VERMILLION if row.gap.value > 0 else style.GREEN
        ax.barh(place, row.gap.value, height=0.55, color=colour, alpha=0.85, zorder=2)
        _interval(ax, place, row.gap)
        end = max(row.gap.high if row.gap.high is not None else row.gap.value, row.gap.value, 0.0)
        ax.annotate(
            told.format(row.gap.value), (end, place), xytext=(5, 0), textcoords="offset points", va="center",
            fontsize=9, fontweight="bold" if row.is_average else "normal",
        )  # fmt: skip
    names = [row.label if row.is_average else _row_label(row.label, False, compact) for row in data.rows]
    ax.set_yticks(range(len(data.rows)), names)
    ax.set_ylim(len(data.rows) - 0.4, -0.6)
    ax.axvline(0, color=style.INK, linewidth=1.0, zorder=4)
    ends = [value for row in data.rows for value in (row.gap.low, row.gap.high, row.gap.value) if value is not None]
    low, high = min(0.0, *ends), max(0.0, *ends)
    least = 0.2 if data.is_percent else 0.002
    ax.set_xlim(low - 0.04 * (high - low) - least, high + 0.12 * (high - low) + least)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    warning = f", {data.warning}" if data.warning else ""
    there = f"{100 * data.source_value:.1f}" if data.is_percent else f"{data.source_value:.3f}"
    lost = "points" if data.is_percent else data.metric
    ax.set_title(f"Transfer gap from {data.source} ({data.metric} {there} there){warning}")
    ax.set_xlabel(f"{lost} lost against the source, with 95 % intervals")
    if compact:
        ax.set_title(f"Transfer gap from {style.shorten(data.source, 20)}")
        note = f" (and {data.left_out} narrower gaps)" if data.left_out else ""
        ax.set_xlabel(f"{data.metric}{', points' * data.is_percent}{note}{warning}")


def _interval(ax: Any, place: int, gap: Estimate) -> None:
    if gap.low is not None and gap.high is not None:
        ax.plot([gap.low, gap.high], [place, place], color=style.INK, linewidth=1.6, zorder=3, solid_capstyle="butt")
        for end in (gap.low, gap.high):
            ax.plot([end, end], [place - 0.12, place + 0.12], color=style.INK, linewidth=1.6, zorder=3)
