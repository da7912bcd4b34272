"""Builds every figure of a run and writes it as PNG and SVG."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from glotune.report.figures import build_curves, build_panels, build_results, style
from glotune.report.figures.build_dashboard import dashboard
from glotune.report.figures.data import FigureData
from glotune.run.data import RunData
from glotune.run.directory import write_atomically

FIGURE_NAMES = (
    "losses",
    "accuracies",
    "f1_scores",
    "learning_rate",
    "roc_curve",
    "accuracy_f1_comparison",
    "transfer_gap",
    "dashboard",
    "final_comparison",
    "confusion_matrix",
    "calibration",
)

CAPTIONS = {
    "losses": "Loss per text in training and on each validation language.",
    "accuracies": "Accuracy over the epochs.",
    "f1_scores": "Macro-F1 over the epochs.",
    "learning_rate": "Learning rate and gradient norm over the optimizer steps.",
    "roc_curve": "ROC curves, one class against the rest, with the area under each.",
    "accuracy_f1_comparison": "Accuracy, macro- and weighted-F1 of each language with 95 % intervals.",
    "transfer_gap": "Points of macro-F1 that each target language loses against the source, with 95 % intervals.",
    "dashboard": "The run at a glance.",
    "final_comparison": "Training, validation, last test while training, and final test of the kept checkpoint.",
    "confusion_matrix": "Confusion matrix of each language: share and count of each true class.",
    "calibration": "Stated confidence against accuracy, with Wilson intervals; below the diagonal is overconfident.",
}

ABSENT = {
    "transfer_gap": "the run has no target language beside a source language",
    "roc_curve": "no finite predictions were recorded",
    "calibration": "no finite predictions were recorded",
    "learning_rate": "no optimizer step was recorded",
    "losses": "no loss was recorded",
}


@dataclass(frozen=True)
class FigureFile:
    """One figure on disk."""

    name: str
    caption: str
    png: Path
    svg: Path


def build_figures(run: RunData) -> dict[str, FigureData]:
    """name -> data of every figure that this run can have, in the order of `FIGURE_NAMES`."""
    verdict = run.manifest.verdict
    warning = f"meaningless: {verdict.status}" if verdict and not verdict.is_sound else ""
    gaps = build_results.gap_figure(build_results.transfer(run), warning)
    built: dict[str, FigureData | None] = {
        "losses": build_curves.losses(run),
        "accuracies": build_curves.accuracies(run),
        "f1_scores": build_curves.f1_scores(run),
        "learning_rate": build_curves.learning_rate(run),
        "roc_curve": build_panels.roc_figure(run),
        "accuracy_f1_comparison": build_results.accuracy_f1_comparison(run),
        "transfer_gap": gaps,
        "dashboard": dashboard(run, gaps),
        "final_comparison": build_results.final_comparison(run),
        "confusion_matrix": build_panels.confusion_figure(run),
        "calibration": build_panels.calibration_figure(run),
    }
    return {name: data for name, data in built.items() if data is not None}


def why_absent(name: str) -> str:
    """Why a figure is not among those of a run."""
    return ABSENT.get(name, "the run was not evaluated")


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
    from glotune.report.figures import data as kinds
    from glotune.report.figures import draw_curves, draw_dashboard, draw_dots, draw_panels

    if isinstance(data, kinds.CurvePanels):
        return draw_curves.size_of_curves(data), partial(draw_curves.draw_curve_panels, data=data)
    if isinstance(data, kinds.LearningRate):
        return (style.WIDTH_IN, 4.4), partial(draw_curves.draw_learning_rate, data=data)
    if isinstance(data, kinds.DotPanels):
        return draw_dots.size_of_dots(data), partial(draw_dots.draw_dot_panels, data=data)
    if isinstance(data, kinds.TransferGaps):
        return draw_dots.size_of_gaps(data), partial(draw_dots.draw_gap_figure, data=data)
    if isinstance(data, kinds.RocCurves):
        return draw_panels.size_of_panels(data), partial(draw_panels.draw_roc, data=data)
    if isinstance(data, kinds.ConfusionMatrices):
        return draw_panels.size_of_panels(data), partial(draw_panels.draw_confusion, data=data)
    if isinstance(data, kinds.Calibration):
        return draw_panels.size_of_panels(data), partial(draw_panels.draw_calibration, data=data)
    return draw_dashboard.size_of_dashboard(data), partial(draw_dashboard.draw_dashboard, data=data)


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
