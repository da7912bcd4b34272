"""Draws the figures over epochs and steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from glotune.report.analysis import extremes
from glotune.report.drawing import style
from glotune.report.figures.model import CurvePanels, Curves, LearningRate, Series

MAX_LANGUAGES = 6
"""Named at the lines' ends: more would hide the sources among them. Variants are compared, and named as looks last."""
TRAIN = style.Look(style.INK, "o", (0, (4, 1.5)))
NOTE: dict[str, Any] = {
    "fontsize": 8,
    "color": style.MUTED,
    "bbox": {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
}


def draw_curve_panels(figure: Any, data: CurvePanels) -> None:
    """Panels beside each other, one y axis for all; a language looks alike in each."""
    axes = figure.subplots(1, len(data.panels), squeeze=False, sharey=len(data.panels) > 1)[0]
    limits = y_limits([*data.panels])
    looks = style.looks_of(list(dict.fromkeys(name for panel in data.panels for name in _highlighted(panel))))
    for position, (ax, panel) in enumerate(zip(axes, data.panels, strict=True)):
        draw_curves(ax, panel, limits=limits, looks=looks)
        if position:
            ax.set_ylabel("")


def size_of_curves(data: CurvePanels) -> tuple[float, float]:
    """Width and height in inches."""
    return style.WIDTH_IN, 4.0


def draw_curves(
    ax: Any,
    data: Curves,
    compact: bool = False,
    limits: tuple[float, float] | None = None,
    looks: dict[str, style.Look] | None = None,
) -> None:
    """Lines with their names at their ends: no legend to look up."""
    scale = 100.0 if data.is_percent else 1.0
    looks = style.looks_of(_highlighted(data)) if looks is None else looks
    labels: list[tuple[float, str, str]] = []
    names = dict(zip(data.series, style.distinct([_name(series) for series in data.series], 22), strict=True))
    for series in data.series:
        look = _look(series, looks)
        x, y = list(series.x), [scale * value for value in series.y]
        if series.is_faint:
            ax.plot(x, y, color=style.FAINT, linewidth=0.8, zorder=1)
            continue
        few = len(x) == 1 or (len(x) <= 30 and series.role != "train")  # a line of one point is none
        named = series.role == "train" or series.language in looks
        ax.plot(
            x, y, color=look.colour, linewidth=2.0 if named else 0.9, alpha=1.0 if named else 0.6,
            linestyle=look.line,
            marker=look.marker if few and named else None, markersize=4 if compact else 5,
            markeredgecolor="white", markeredgewidth=0.6, zorder=3 if named else 2, clip_on=False,
        )  # fmt: skip
        if named:
            labels.append((y[-1], _label(names[series], y[-1], data.is_percent), look.colour))
    ax.set_ylim(*(limits or y_limits([data])))
    _frame(ax, data)
    _best(ax, data, compact)
    _references(ax, data, scale, compact)
    _end_labels(ax, labels, _last_x(data), compact)
    others = sum(1 for series in data.series if series.language and series.language not in looks)
    thing = "language" if data.are_languages else "variant"
    note = f"grey: {others} more {thing}{'s' if others > 1 else ''}" if others else ""
    ax.set_title(data.title)
    ax.set_xlabel(f"epoch{'   (' + note + ')' if note else ''}")
    ax.set_ylabel(data.y_label + (", %" if data.is_percent else ""))


def _highlighted(data: Curves) -> list[str]:
    """Languages or variants with a look of their own: all, or the sources and the extremes at the end."""
    lines = [series for series in data.series if series.language]
    most = MAX_LANGUAGES if data.are_languages else len(style.LOOKS)
    if len(lines) <= most:
        return [str(series.language) for series in lines]
    ranking = sorted(lines, key=lambda series: -series.y[-1])
    sources = [series for series in ranking if series.is_source]
    targets = [series for series in ranking if not series.is_source]
    kept = extremes(sources, max(most - len(targets), min(2, len(sources))))
    kept += extremes(targets, most - len(kept))
    return [str(series.language) for series in kept]


def _look(series: Series, looks: dict[str, style.Look]) -> style.Look:
    return TRAIN if series.role == "train" else looks.get(str(series.language), style.UNNAMED)


def _name(series: Series) -> str:
    return style.latin(series.name, series.language or "?")


def _label(name: str, last: float, is_percent: bool) -> str:
    return f"{name} {last:.1f}" if is_percent else f"{name} {last:.2f}"


def _references(ax: Any, data: Curves, scale: float, compact: bool) -> None:
    for reference in data.references:
        value = scale * reference.value
        ax.axhline(value, color=style.MUTED, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1)
        share = emptiest(
            data, scale, ax.get_xlim(), (value, value + (0.09 if compact else 0.07) * _height(ax)), compact
        )
        name = reference.name.partition(":")[0] if compact else reference.name
        ax.annotate(
            name, (share, value), xycoords=("axes fraction", "data"), xytext=(0, 4),
            textcoords="offset points", ha={0.02: "left", 0.98: "right"}.get(share, "center"), zorder=5, **NOTE,
        )  # fmt: skip


def _height(ax: Any) -> float:
    low, high = ax.get_ylim()
    return float(high - low)


def emptiest(
    data: Curves, scale: float, limits: tuple[float, float], band: tuple[float, float], compact: bool
) -> float:
    """Where along the x axis a note in the band of y values covers the fewest lines: right, middle or left."""
    width = 0.15 if compact else 0.28
    spans = {0.98: (0.98 - width, 0.98), 0.5: (0.5 - width / 2, 0.5 + width / 2), 0.02: (0.02, 0.02 + width)}

    def covered(share: float) -> int:
        low, high = (limits[0] + end * (limits[1] - limits[0]) for end in spans[share])
        return _covered(data, scale, (low, high), band)

    return min(spans, key=covered)


def _covered(data: Curves, scale: float, span: tuple[float, float], band: tuple[float, float]) -> int:
    """How much of the lines a note in this span of x and band of y would cover."""
    at = np.linspace(*span, 40)
    references = sum(band[0] <= scale * each.value <= band[1] for each in data.references)
    lines = (series for series in data.series if not series.is_faint)
    found = (np.interp(at, line.x, scale * np.asarray(line.y), left=np.nan, right=np.nan) for line in lines)
    return sum(int(((y >= band[0]) & (y <= band[1])).sum()) for y in found) + len(at) * references


def _best(ax: Any, data: Curves, compact: bool) -> None:
    """Where the kept checkpoint is, named at the foot or the head of its line, wherever fewer curves are."""
    if data.best_epoch is None:
        return
    ax.axvline(data.best_epoch, color=style.MUTED, linewidth=1.0, linestyle="--", zorder=1)
    near_end = data.best_epoch > 0.5 * _last_x(data)
    reach = (0.3 if compact else 0.15) * (ax.get_xlim()[1] - ax.get_xlim()[0])
    span = (data.best_epoch - reach, data.best_epoch) if near_end else (data.best_epoch, data.best_epoch + reach)
    at = _freer_end(data, ax.get_ylim(), span, 0.09 if compact else 0.07)
    ax.annotate(
        "kept checkpoint", (data.best_epoch, at), xycoords=("data", "axes fraction"),
        xytext=(-4 if near_end else 4, 4), textcoords="offset points", ha="right" if near_end else "left",
        zorder=5, **NOTE,
    )  # fmt: skip


def _freer_end(data: Curves, limits: tuple[float, float], span: tuple[float, float], height: float) -> float:
    """Share of the y axis, the foot or the head, at which a note so high covers less."""
    scale, (low, high) = 100.0 if data.is_percent else 1.0, limits

    def covered(share: float) -> int:
        return _covered(data, scale, span, (low + share * (high - low), low + (share + height) * (high - low)))

    return min((0.0, 1.0 - height), key=covered)


def _last_x(data: Curves) -> float:
    return max(series.x[-1] for series in data.series)


def y_limits(panels: list[Curves]) -> tuple[float, float]:
    """Limits from the lines of all panels, as drawn; raw losses that leap don't squash the rest.

    What is never negative begins at 0 at the lowest; correlations may lie below.
    """
    values: list[float] = []
    for data in panels:
        scale = 100.0 if data.is_percent else 1.0
        solid = [series for series in data.series if not series.is_faint] or list(data.series)
        values += [scale * value for series in solid for value in series.y]
        values += [scale * reference.value for reference in data.references]
    low, high = min(values), max(values)
    percent = panels[0].is_percent
    reach = max(high - low, 2.0 if percent else 0.02)
    low, high = low - 0.08 * reach, high + 0.08 * reach
    return max(low, 0.0) if min(values) >= 0.0 else low, min(high, 100.0) if percent else high


def _frame(ax: Any, data: Curves) -> None:
    """Epochs from the start of training, or from the first of which anything is told; a tick for each while few."""
    last = _last_x(data)
    first = min(series.x[0] for series in data.series)
    start = min(first, 0.0) if first < 1 else first - 0.03 * (last - first)
    ax.set_xlim(start if last > first else first - 0.5, last if last > first else last + 0.5)
    if last <= 15:
        ax.set_xticks(range(int(min(first, last)), int(last) + 1))


def _end_labels(ax: Any, labels: list[tuple[float, str, str]], x: float, compact: bool) -> None:
    """Names right of the last point, pushed apart where they would overlap."""
    low, high = ax.get_ylim()
    height = ax.get_window_extent().height / ax.figure.dpi * 72
    size = 8 if compact else 9
    step = (high - low) * 1.25 * size / max(height, 1)
    ordered = sorted(labels, key=lambda each: each[0])
    for (_, name, colour), y in zip(ordered, spread([value for value, _, _ in ordered], step, high), strict=True):
        ax.annotate(
            name, (x, y), xytext=(7, 0), textcoords="offset points", annotation_clip=False, fontsize=size,
            color=colour, va="center", ha="left", fontweight="normal" if compact else "bold",
        )  # fmt: skip


def spread(values: list[float], step: float, high: float) -> list[float]:
    """Rising values pushed apart to at least `step`, then down where they pass `high`."""
    placed: list[float] = []
    for value in values:
        placed.append(max(value, placed[-1] + step) if placed else value)
    limit = high
    for place in range(len(placed) - 1, -1, -1):
        placed[place] = min(placed[place], limit)
        limit = placed[place] - step
    return placed


def draw_learning_rate(figure: Any, data: LearningRate) -> None:
    """The rate above, the gradient norm below, over the same steps."""
    if not data.norm_steps:
        draw_rate(figure.subplots(), data)
        return
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    draw_rate(upper, data)
    upper.set_xlabel("")
    lower.plot(data.norm_steps, data.norm, color=style.VERMILLION, linewidth=1.2)
    lower.set_ylabel("gradient norm")
    lower.set_xlabel("optimizer step")
    lower.set_ylim(0, 1.3 * max(data.norm) or 1.0)  # room for the note
    if data.max_grad_norm is not None:
        lower.axhline(data.max_grad_norm, color=style.MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
        lower.annotate(
            f"clipped above {data.max_grad_norm:g}", (0.99, 0.97), xycoords="axes fraction",
            ha="right", va="top", **NOTE,
        )  # fmt: skip


def draw_rate(ax: Any, data: LearningRate, compact: bool = False) -> None:
    """The learning rate over steps, its warmup shaded."""
    ax.plot(data.steps, data.rate, color=style.BLUE, linewidth=2.0)
    ax.set_title("Learning rate")
    ax.set_ylabel("learning rate")
    ax.set_xlabel("optimizer step")
    ax.set_ylim(0, 1.12 * data.peak if data.peak else 1.0)
    ax.set_xlim(data.steps[0] if len(data.steps) > 1 else 0, data.steps[-1] if len(data.steps) > 1 else 1)
    ax.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
    if data.warmup_end is not None:
        ax.axvspan(data.steps[0], data.warmup_end, color=style.SKY, alpha=0.18, linewidth=0)
        text = "warmup" if compact else f"warmup to {data.peak:.3g} at step {data.warmup_end}"
        ax.annotate(
            text, (data.warmup_end, 0.05), xycoords=("data", "axes fraction"), xytext=(5, 0),
            textcoords="offset points", **NOTE,
        )  # fmt: skip
