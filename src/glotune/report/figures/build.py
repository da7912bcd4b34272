"""Every figure of a run, computed once for all that show it: by name, the dashboard from the data of the others."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from glotune.recipe.kinds import TaskName
from glotune.report.analysis import transfer
from glotune.report.figures.curves import learning_rate, losses, score_curves
from glotune.report.figures.labels import cooccurrence, label_scores
from glotune.report.figures.model import (
    ConfusionMatrices,
    ConfusionPanel,
    CurvePanels,
    Curves,
    Dashboard,
    DotPanels,
    DotRow,
    Dots,
    FigureData,
    LearningRate,
    TransferGaps,
)
from glotune.report.figures.panels import calibration_figure, confusion_figure, roc_figure
from glotune.report.figures.results import accuracy_f1_comparison, final_comparison, gap_figure, sources_in_short
from glotune.report.figures.scores import residuals, score_scatter
from glotune.report.specification import encoder_name
from glotune.run.data import RunData
from glotune.words import counted

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
    "label_scores",
    "error_cooccurrence",
    "score_scatter",
    "residuals",
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
    "label_scores": "Precision and recall of each label with 95 % intervals.",
    "error_cooccurrence": "Errors that go together: of the texts answered wrongly on a label (row), the share answered "
    "wrongly on another (column); on the diagonal how many they are.",
    "score_scatter": "What was answered beside the true score, with Pearson's correlation.",
    "residuals": "How far answers lie above the truth, beside what was answered.",
    "calibration": "Stated confidence against accuracy, with Wilson intervals; below the diagonal is overconfident.",
}

OF_OTHER_TASKS = {
    "multi_label": {
        "accuracies": "Micro-F1 over the epochs; training answers from probability 1/2 on.",
        "f1_scores": "Macro-F1 over the epochs; training answers from probability 1/2 on.",
        "roc_curve": "ROC curves of each label, with the area under each.",
        "accuracy_f1_comparison": "Macro-, micro-F1 and F1 by text of each language with 95 % intervals.",
        "calibration": "Stated confidence in each label, yes or no, against accuracy, with Wilson intervals; below the "
        "diagonal is overconfident.",
    },
    "score": {
        "accuracies": "Spearman's rank correlation over the epochs.",
        "f1_scores": "Pearson's correlation over the epochs.",
        "losses": "Squared error in units of the training scores' variance, in training and by validation language.",
        "accuracy_f1_comparison": "Correlations of each language with 95 % intervals.",
        "transfer_gap": "How much less the scores of each target language go with the truth, with 95 % intervals.",
    },
}
"""Captions that say something else where a task is not to choose one class."""
CLASSES: tuple[TaskName, ...] = ("single_label", "multi_label")
OF_SOME_TASKS: dict[str, tuple[TaskName, ...]] = {
    "confusion_matrix": ("single_label",),
    "label_scores": ("multi_label",),
    "error_cooccurrence": ("multi_label",),
    "score_scatter": ("score",),
    "residuals": ("score",),
    "roc_curve": CLASSES,
    "calibration": CLASSES,
}
"""Figures that not every task has: they are not missed elsewhere."""

ABSENT = {
    "transfer_gap": "the run has no target language beside a source language",
    "roc_curve": "no finite predictions were recorded",
    "calibration": "no finite predictions were recorded",
    "learning_rate": "no optimizer step was recorded",
    "losses": "no loss was recorded",
}
MAX_FULL_ROWS = 6
MAX_GAPS = 14


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
    gaps = gap_figure(transfer(run), warning)
    loss, f1, rate = losses(run), score_curves(run, run.kind.metric), learning_rate(run)
    results = accuracy_f1_comparison(run)
    built: dict[str, FigureData | None] = {
        "losses": loss,
        "accuracies": score_curves(run, run.kind.pair[0]),
        "f1_scores": f1,
        "learning_rate": rate,
        "roc_curve": roc_figure(run),
        "accuracy_f1_comparison": results,
        "transfer_gap": gaps,
        "dashboard": dashboard(run, loss, f1, rate, results, gaps),
        "final_comparison": final_comparison(run),
        "confusion_matrix": confusion_figure(run),
        "label_scores": label_scores(run),
        "error_cooccurrence": cooccurrence(run),
        "score_scatter": score_scatter(run),
        "residuals": residuals(run),
        "calibration": calibration_figure(run),
    }
    return {name: data for name, data in built.items() if data is not None}


def captions_of(run: RunData) -> dict[str, str]:
    """What each figure shows, in the words of the run's task."""
    return {**CAPTIONS, **OF_OTHER_TASKS.get(run.kind.name, {})}


def missed(run: RunData, drawn: Collection[str]) -> dict[str, str]:
    """Figures that the run's task has and this run hasn't -> why."""
    return {name: why_absent(name) for name in names_of(run.kind.name) if name not in drawn}


def names_of(task: TaskName) -> tuple[str, ...]:
    """The figures that a run of this task can have."""
    return tuple(name for name in FIGURE_NAMES if task in OF_SOME_TASKS.get(name, (task,)))


def why_absent(name: str) -> str:
    """Why a figure is not among those of a run."""
    return ABSENT.get(name, "the run was not evaluated")


def dashboard(
    run: RunData,
    curves: CurvePanels | None,
    scores: CurvePanels | None,
    rate: LearningRate | None,
    results: DotPanels | None,
    gaps: TransferGaps | None,
) -> Dashboard | None:
    """The dashboard, of the data of the other figures; None where there is neither a loss nor a result."""
    if curves is None and results is None:
        return None
    matrices, by_label = confusion_figure(run, most=len(run.main)), label_scores(run, most=1)
    verdict = run.manifest.verdict
    return Dashboard(
        name=run.name,
        verdict=verdict.status if verdict else run.manifest.status.value,
        facts=facts(run),
        losses=curves.panels[0] if curves else None,
        scores=_validation(scores.panels) if scores else None,
        learning_rate=rate,
        results=_few(run, results.panels[0]) if results else None,
        gaps=_widest(gaps),
        confusion=_summed(matrices) if matrices else None,
        labels=tuple(run.manifest.labels),
        by_label=by_label.panels[0] if by_label else None,
        scatter=score_scatter(run, most=1),
    )


def facts(run: RunData) -> tuple[str, ...]:
    """A headline in a few words: encoder, training languages, seed, precision."""
    parts = []
    if run.recipe:
        encoder = encoder_name(run.recipe.model.name)
        layers = run.recipe.model.layers
        parts.append(f"{encoder}, first {counted(layers, 'layer')}" if layers else encoder)
    if run.sources:
        parts.append(f"trained on {sources_in_short(run.sources)}")
    parts.append(f"seed {run.manifest.seed}")
    if run.manifest.plan:
        parts.append(f"{run.manifest.plan.device} {run.manifest.plan.precision}")
    return tuple(parts)


def _few(run: RunData, results: Dots) -> Dots:
    """The task's metric alone where there are many languages."""
    place = run.kind.drawn.index(run.kind.metric)
    if len(results.rows) <= MAX_FULL_ROWS:
        return results
    rows = tuple(DotRow(row.label, row.estimates[place : place + 1], row.is_source) for row in results.rows)
    return Dots(results.title, results.x_label, results.columns[place : place + 1], rows, results.is_percent)


def _widest(gaps: TransferGaps | None) -> TransferGaps | None:
    """The widest gaps and the average."""
    if gaps is None or len(gaps.rows) <= MAX_GAPS:
        return gaps
    kept = (*gaps.rows[: MAX_GAPS - 1], gaps.rows[-1])
    return replace(gaps, rows=kept, left_out=len(gaps.rows) - MAX_GAPS)


def _validation(panels: tuple[Curves, ...]) -> Curves:
    return next((panel for panel in panels if any(series.role == "validation" for series in panel.series)), panels[0])


def _summed(matrices: ConfusionMatrices) -> ConfusionPanel:
    """All languages in one matrix: for the overview only."""
    size = len(matrices.labels)
    counts = tuple(
        tuple(sum(panel.counts[true][predicted] for panel in matrices.panels) for predicted in range(size))
        for true in range(size)
    )
    n = sum(map(sum, counts))
    right = sum(counts[index][index] for index in range(size))
    several = len(matrices.panels)
    name = f"{several} languages pooled" if several > 1 else matrices.panels[0].language
    return ConfusionPanel(name, n, right / n if n else 0.0, counts)
