"""One picture of the whole run, from the data of the others."""

from __future__ import annotations

from glotune.report.figures.build_curves import f1_scores, learning_rate, losses
from glotune.report.figures.build_panels import confusion_figure
from glotune.report.figures.build_results import accuracy_f1_comparison, sources_in_short
from glotune.report.figures.data import ConfusionMatrices, ConfusionPanel, Curves, Dashboard, DotRow, Dots, TransferGaps
from glotune.run.data import RunData
from glotune.words import counted

MAX_FULL_ROWS = 6
MAX_GAPS = 14


def dashboard(run: RunData, gaps: TransferGaps | None) -> Dashboard | None:
    """The dashboard; None for a run that has neither trained a step nor been evaluated."""
    curves, scores, results = losses(run), f1_scores(run), accuracy_f1_comparison(run)
    if curves is None and results is None:
        return None
    matrices = confusion_figure(run, most=len(run.main))
    verdict = run.manifest.verdict
    return Dashboard(
        name=run.name,
        verdict=verdict.status if verdict else run.manifest.status.value,
        facts=facts(run),
        losses=curves.panels[0] if curves else None,
        scores=_validation(scores.panels) if scores else None,
        learning_rate=learning_rate(run),
        results=_few(results.panels[0]) if results else None,
        gaps=_widest(gaps),
        confusion=_summed(matrices) if matrices else None,
        labels=tuple(run.manifest.labels),
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


def encoder_name(name: str) -> str:
    """The last part of a Hub name; the last two of a folder, whose last is often a version or a step."""
    parts = [part for part in name.split("/") if part]
    return "/".join(parts[-2:]) if name.startswith(("/", ".")) else parts[-1]


def _few(results: Dots) -> Dots:
    """Macro-F1 alone where there are many languages."""
    if len(results.rows) <= MAX_FULL_ROWS:
        return results
    rows = tuple(DotRow(row.label, row.estimates[1:2], row.is_source) for row in results.rows)
    return Dots(results.title, results.x_label, results.columns[1:2], rows, results.is_percent)


def _widest(gaps: TransferGaps | None) -> TransferGaps | None:
    """The widest gaps and the average."""
    if gaps is None or len(gaps.rows) <= MAX_GAPS:
        return gaps
    kept = (*gaps.rows[: MAX_GAPS - 1], gaps.rows[-1])
    return TransferGaps(gaps.metric, gaps.source, gaps.source_value, kept, gaps.warning, len(gaps.rows) - MAX_GAPS)


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
