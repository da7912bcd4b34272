"""Draws the figures that have a panel for each language: ROC, confusion, calibration."""

from __future__ import annotations

import math
from typing import Any

from glotune.report.analysis import extremes
from glotune.report.drawing import style
from glotune.report.figures.model import (
    Calibration,
    CalibrationPanel,
    ConfusionMatrices,
    ConfusionPanel,
    Cooccurrence,
    RocCurves,
    RocPanel,
    Scatter,
    ScatterPanel,
    Slice,
    Slices,
)

COLUMNS = 3
MOST_NAMED = 16
"""Languages without a panel that a line below the panels has room for."""
MOST_CLASSES, NAMED_OF_MORE = 6, 4
"""ROC curves with a colour and a name of their own; of more classes the two best and the two worst have one."""
MIN_BIN = 20
"""Bins with fewer texts are drawn pale: their accuracy says little."""


def size_of_panels(
    data: RocCurves | ConfusionMatrices | Cooccurrence | Calibration | Scatter | Slices,
) -> tuple[float, float]:
    """Rows of three square panels."""
    columns = grid_columns(len(data.panels))
    rows = math.ceil(len(data.panels) / columns)
    side = style.WIDTH_IN / columns if len(data.panels) > 1 else 0.55 * style.WIDTH_IN
    return (style.WIDTH_IN if len(data.panels) > 1 else 0.7 * style.WIDTH_IN), 0.6 + rows * (0.98 * side)


def grid_columns(panels: int) -> int:
    """Two panels, or four, make a square; more stand in threes."""
    return {1: 1, 2: 2, 4: 2}.get(panels, COLUMNS)


def _grid(figure: Any, panels: int, **shared: bool) -> list[Any]:
    columns = grid_columns(panels)
    axes = figure.subplots(math.ceil(panels / columns), columns, squeeze=False, **shared)
    flat = [ax for row in axes for ax in row]
    for ax in flat[panels:]:
        ax.set_visible(False)
    return flat[:panels]


def class_names(labels: tuple[str, ...] | list[str]) -> list[str]:
    """Label names as a picture can show them, each another; another script's appear by class id.

    Names that begin alike are cut in their middle; what is still alike is numbered.
    """
    whole = [style.latin(label, f"class {index}") for index, label in enumerate(labels)]
    short = [style.shorten(name, 12) for name in whole]
    short = [style.middle(name, 12) if short.count(cut) > 1 else cut for name, cut in zip(whole, short, strict=True)]
    return [f"{name[:7]}… {index}" if short.count(name) > 1 else name for index, name in enumerate(short)]


def _left_out(figure: Any, panels: int, left_out: tuple[str, ...]) -> None:
    if left_out:
        names = ", ".join(left_out[:MOST_NAMED]) + (" …" if len(left_out) > MOST_NAMED else "")
        text = f"best and worst of {panels + len(left_out)} languages; on the page also: {names}"
        figure.supxlabel(text, fontsize=8, color=style.MUTED)


def draw_roc(figure: Any, data: RocCurves) -> None:
    """One panel per language, one line per class against the rest."""
    names = dict(zip(data.labels, class_names(data.labels), strict=True))
    for ax, panel in zip(_grid(figure, len(data.panels), sharex=True, sharey=True), data.panels, strict=True):
        _roc_panel(ax, panel, names)
    _left_out(figure, len(data.panels), data.left_out)


def _roc_panel(ax: Any, panel: RocPanel, names: dict[str, str]) -> None:
    ax.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
    styles = ("-", "--", "-.", (0, (1, 1)))
    ranking = sorted(panel.lines, key=lambda line: -line.auc)
    named = panel.lines if len(ranking) <= MOST_CLASSES else extremes(ranking, NAMED_OF_MORE)
    grey = [line for line in panel.lines if line not in named]
    for index, line in enumerate(named):
        ax.plot(
            line.false_positive_rate, line.true_positive_rate, color=style.PALETTE[index % len(style.PALETTE)],
            linestyle=styles[index % len(styles)], linewidth=1.8, label=f"{names[line.label]} {line.auc:.3f}",
        )  # fmt: skip
    for index, line in enumerate(grey):
        ax.plot(
            line.false_positive_rate, line.true_positive_rate, color=style.FAINT, linewidth=0.9, zorder=1,
            label="" if index else f"{len(grey)} classes between",
        )  # fmt: skip
    ax.legend(loc="lower right", title="AUC", title_fontsize=8, fontsize=8, alignment="left", handlelength=1.6)
    _unit_square(ax, f"{style.latin(panel.language)}, n = {panel.n:,}", "false positive rate", "true positive rate")


def draw_confusion(figure: Any, data: ConfusionMatrices) -> None:
    """One matrix per language: counts and the share of each true class."""
    names = class_names(data.labels)
    for ax, panel in zip(_grid(figure, len(data.panels)), data.panels, strict=True):
        confusion_panel(ax, panel, names)
    _left_out(figure, len(data.panels), data.left_out)


def draw_cooccurrence(figure: Any, data: Cooccurrence) -> None:
    """One matrix per language: of the texts with an error on a label, the share with one on another."""
    names = class_names(data.labels)
    for ax, panel in zip(_grid(figure, len(data.panels)), data.panels, strict=True):
        wrong = [panel.counts[label][label] for label in range(len(names))]
        shares = [[count / max(1, wrong[label]) for count in row] for label, row in enumerate(panel.counts)]
        for label in range(len(names)):
            shares[label][label] = 0.0  # every error goes with itself: its count alone is told
        _matrix(ax, panel, shares, names, of_itself=True)
        for label in panel.blank:
            middle = (len(names) - 1) / 2
            ax.text(middle, label, "not annotated", ha="center", va="center", fontsize=8, color=style.MUTED)
        ax.set_xlabel("also wrong on", fontsize=9)
        ax.set_ylabel("wrong on", fontsize=9)
        right = f"{100 * panel.accuracy:.0f} % of {panel.n:,} all right"
        ax.set_title(f"{style.latin(panel.language)}, {right}", fontsize=10)
    _left_out(figure, len(data.panels), data.left_out)


def confusion_panel(ax: Any, panel: ConfusionPanel, names: list[str], compact: bool = False) -> None:
    """Shade is the share of the row; the diagonal is what was right."""
    shares = [[count / max(1, sum(row)) for count in row] for row in panel.counts]
    _matrix(ax, panel, shares, names, compact)
    ax.set_xlabel("predicted", fontsize=9)
    ax.set_ylabel("true", fontsize=9)
    ax.set_title(f"{style.latin(panel.language)}, {100 * panel.accuracy:.1f} % of {panel.n:,} right", fontsize=10)
    if compact:
        ax.set_title(f"Confusion, {panel.language}")


def _matrix(
    ax: Any,
    panel: ConfusionPanel,
    shares: list[list[float]],
    names: list[str],
    compact: bool = False,
    of_itself: bool = False,
) -> None:
    """Cells shaded by a share, with it and the count where there is room.

    Args:
        of_itself: the diagonal is what the shares of its row are of: its count alone is told.
    """
    size = len(names)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    font = 9 if size <= 3 else 8 if size <= 6 else 6
    if size <= 10:
        for true, row in enumerate(panel.counts):
            for predicted, count in enumerate(row):
                if true in panel.blank or predicted in panel.blank:
                    continue
                share = shares[true][predicted]
                text = f"{100 * share:.0f} %" + ("" if compact or size > 6 else f"\n{count:,}")
                text = f"{count:,}" if of_itself and true == predicted else text
                colour = "white" if share > 0.55 else style.INK
                ax.text(predicted, true, text, ha="center", va="center", fontsize=font, color=colour)
    long = max(map(len, names)) > 6 or size > 4
    upright = size > 6  # slanted names of narrow columns run into each other
    ax.set_xticks(
        range(size),
        names,
        rotation=90 if upright else 30 if long else 0,
        ha="right" if long and not upright else "center",
    )
    ax.set_yticks(range(size), names)
    ax.tick_params(length=0, labelsize=8 if size <= 10 else max(4, 88 // size))
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def draw_scatter(figure: Any, data: Scatter) -> None:
    """One panel per language and score."""
    for ax, panel in zip(_grid(figure, len(data.panels)), data.panels, strict=True):
        scatter_panel(ax, panel, data)


def scatter_panel(ax: Any, panel: ScatterPanel, data: Scatter) -> None:
    """A point for each text; where scores are few numbers, points lie on one another and are drawn pale."""
    ax.plot(panel.x, panel.y, linestyle="none", marker="o", markersize=3.5, color=style.BLUE, alpha=0.25, mew=0)
    if data.is_diagonal:
        ends = min(*panel.x, *panel.y), max(*panel.x, *panel.y)
        ax.plot(ends, ends, color=style.MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
    else:
        ax.axhline(0.0, color=style.MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
    ax.set_title(f"{style.latin(panel.title)}, {panel.note}", fontsize=10)
    ax.set_xlabel(data.x_label)
    ax.set_ylabel(data.y_label)


def draw_slices(figure: Any, data: Slices) -> None:
    """One panel per key; what was left early or learned nothing stands apart from what was trained to its end."""
    axes = _grid(figure, len(data.panels), sharey=True)
    for ax, panel in zip(axes, data.panels, strict=True):
        _slice_panel(ax, panel, 100 if data.is_percent else 1)
    axes[0].margins(y=0.1)
    for place in range(0, len(axes), grid_columns(len(axes))):
        axes[place].set_ylabel(data.y_label)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=9)


def _slice_panel(ax: Any, panel: Slice, scale: float) -> None:
    small: dict[str, Any] = {"markersize": 6, "marker": "o"}
    ring: dict[str, Any] = {"markersize": 12, "marker": "o", "color": "none", "mew": 1.8}
    kinds = (
        ("trained to its end", [p for p in panel.points if p.outcome == "complete"],
         {**small, "color": style.BLUE, "mec": "white", "mew": 0.6}),
        ("left early", [p for p in panel.points if p.outcome == "pruned"],
         {**small, "color": "none", "mec": style.MUTED, "mew": 1.0}),
        ("learned nothing", [p for p in panel.points if p.outcome == "unsound"],
         {**small, "marker": "x", "color": style.VERMILLION, "mew": 1.4}),
        ("the recipe as it was", [p for p in panel.points if p.is_plain], {**ring, "mec": style.ORANGE}),
        ("winner", [p for p in panel.points if p.is_winner], {**ring, "mec": style.GREEN}),
    )  # fmt: skip
    for name, some, look in kinds:
        if some:
            ax.plot([p.x for p in some], [scale * p.y for p in some], linestyle="none", label=name, **look)
    if panel.is_log:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_formatter(lambda *_: "")
    if panel.choices:
        names = style.distinct(panel.choices, 22)
        slanted = max(map(len, names)) > 6
        ax.set_xticks(range(len(names)), names, rotation=30 if slanted else 0, ha="right" if slanted else "center")
        ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_title(style.middle(panel.key, 28), fontsize=10)


def draw_calibration(figure: Any, data: Calibration) -> None:
    """One reliability diagram per language."""
    for ax, panel in zip(_grid(figure, len(data.panels), sharex=True, sharey=True), data.panels, strict=True):
        _calibration_panel(ax, panel)
    _left_out(figure, len(data.panels), data.left_out)


def _calibration_panel(ax: Any, panel: CalibrationPanel) -> None:
    ax.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
    largest = max(each.accuracy.n or 1 for each in panel.bins)
    for each in panel.bins:
        strength = 1.0 if (each.accuracy.n or 0) >= MIN_BIN else 0.35
        ax.bar(each.confidence, 0.16 * (each.accuracy.n or 0) / largest, width=0.04, color=style.FAINT, zorder=1)
        ax.plot(
            [each.confidence] * 2, [each.accuracy.low, each.accuracy.high], color=style.BLUE, linewidth=1.6,
            alpha=0.7 * strength, zorder=2,
        )  # fmt: skip
        ax.plot(
            each.confidence, each.accuracy.value, color=style.BLUE, marker="o", markersize=5.5,
            markeredgecolor="white", markeredgewidth=0.6, alpha=strength, zorder=3,
        )  # fmt: skip
    ax.text(
        0.04, 0.95, f"ECE {100 * panel.ece:.1f} points\n(chance: {100 * panel.floor:.1f})", va="top", fontsize=9,
        zorder=5, bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1},
    )  # fmt: skip
    _unit_square(ax, f"{style.latin(panel.language)}, n = {panel.n:,}", "confidence (grey: texts)", "accuracy")


def _unit_square(ax: Any, title: str, x: str, y: str) -> None:
    """Both axes are shares."""
    ax.set_title(title)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.01)
    ax.set_aspect("equal")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.label_outer()
