"""What a finished run shows: one table per split with a row per language, and where its files lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from glotune.cli.console import out, show
from glotune.recipe.kinds import KINDS
from glotune.run.directory import RunDirectory
from glotune.run.records import Evaluation, Manifest
from glotune.stats.traits import trait

if TYPE_CHECKING:
    from glotune.stats.arrays import Answered

EVIDENCE_SHOWN = 6
NAMES = {"accuracy": "accuracy", "macro_f1": "macro F1", "micro_f1": "micro F1"}


def shown_metrics(manifest: Manifest) -> dict[str, str]:
    """The two metrics of a task that a terminal has room for, by their names there."""
    return {metric: NAMES.get(metric, metric) for metric in KINDS[manifest.task].pair}


def show_run(path: Path) -> None:
    """Prints the run's scores per language, its verdict and its paths."""
    from glotune.report.conditions import reservations
    from glotune.run.data import load_run
    from glotune.run.predictions import answers_in

    run = RunDirectory.open(path)
    manifest, metrics = run.read_manifest(), run.read_metrics()
    for split in ("test", "validation"):
        if split in metrics and (split == "test" or "test" not in metrics):
            answered = answers_in(run.predictions, split, metrics[split])
            show_scores(metrics[split], manifest, split, f"{manifest.name}: {split}", answered)
            gap = transfer_gap(metrics[split], manifest)
            if gap or (split == "test" and (gap := no_gap(metrics[split], manifest.source_languages))):
                show(gap)
    if short := _beside_baselines(run, manifest, metrics):
        show(short)
    for line in (*reservations(load_run(run)), *_verdict(manifest)):
        show(line)
    code = (
        "   (its head is glotune's: transformers opens it with trust_remote_code=True)" if manifest.needs_code else ""
    )
    for what, where in _paths(run):
        show(f"{what:<12} {where}{code if what == 'model' else ''}")


def _beside_baselines(run: RunDirectory, manifest: Manifest, metrics: Mapping[str, Any]) -> str | None:
    from glotune.report.baselines import in_short
    from glotune.run.baselines import read_baselines

    split = "test" if "test" in metrics else "validation"
    found = read_baselines(run)
    return (
        in_short(found, split, manifest.source_languages, list(metrics[split])) if found and split in metrics else None
    )


def scores_table(
    languages: Mapping[str, Any], manifest: Manifest, title: str, answered: Mapping[str, Answered]
) -> Table:
    """One row per language, source languages first: n, and each metric with its 95 % interval; then their mean."""
    from glotune.report.analysis import mean_of
    from glotune.report.thin_classes import MARK, is_thin
    from glotune.run.metrics import averaged, mean_name, read_evaluation

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("language", no_wrap=True)
    table.add_column("n", justify="right")
    shown = shown_metrics(manifest)
    for name in shown.values():
        table.add_column(name, justify="right", no_wrap=True)
        table.add_column("95 % interval", no_wrap=True)
    ordered = sorted(languages, key=lambda code: (code not in manifest.source_languages, code))
    evaluations = {code: read_evaluation("", code, languages[code]) for code in ordered}
    for code, each in evaluations.items():
        mark = " (source)" if code in manifest.source_languages else ""
        thin = MARK if is_thin(each, manifest.labels) else ""
        table.add_row(f"{code}{mark}", *_score_cells(each, shown, thin))
    told = averaged(evaluations, manifest.source_languages)
    if len(told) > 1:
        name = f"mean ({mean_name(told, manifest.source_languages).removesuffix(' languages')}s)"
        thin = MARK if any(is_thin(evaluations[code], manifest.labels) for code in told) else ""
        table.add_row(name, *_score_cells(mean_of([evaluations[code] for code in told], answered), shown, thin))
    return table


def show_scores(
    languages: Mapping[str, Any], manifest: Manifest, split: str, title: str, answered: Mapping[str, Answered]
) -> None:
    """Prints the table of scores, and what the marks in it stand for."""
    from glotune.report.thin_classes import about_thin_classes
    from glotune.run.metrics import read_evaluation

    out.print(scores_table(languages, manifest, title, answered))
    evaluations = [read_evaluation(split, code, entry) for code, entry in languages.items()]
    for sentence in about_thin_classes(evaluations, manifest.labels):
        show(sentence)


def _score_cells(evaluation: Evaluation, shown: Iterable[str], mark: str = "") -> list[str]:
    """n, and each metric with its interval; `mark` stands beside macro scores."""
    cells = [str(evaluation.n)]
    for metric in shown:
        value, interval = evaluation.scores.get(metric), evaluation.intervals.get(metric)
        beside = mark if trait(metric).average == "macro" else ""
        cells += [
            "-" if value is None else f"{value:.4f}{beside}",
            f"[{interval.low:.4f}, {interval.high:.4f}]" if interval else "",
        ]
    return cells


def transfer_gap(languages: Mapping[str, Any], manifest: Manifest) -> str | None:
    """``Transfer gap: 12.3 points of macro F1 ...``; None without both a source and a target language."""
    metric, sources = KINDS[manifest.task].metric, manifest.source_languages
    known = {code: scores[metric] for code, scores in languages.items() if scores.get(metric) is not None}
    source = [score for code, score in known.items() if code in sources]
    target = [score for code, score in known.items() if code not in sources]
    if not source or not target:
        return None
    gap = sum(source) / len(source) - sum(target) / len(target)
    told = f"{100 * gap:.1f} points of {NAMES[metric]}" if metric in NAMES else f"{gap:.3f} of {metric}"
    return (
        f"Transfer gap: {told} (mean of {', '.join(sorted(set(known) & set(sources)))} "
        f"minus mean of {len(target)} target language{'s' if len(target) > 1 else ''})"
    )


def no_gap(languages: Mapping[str, Any], sources: list[str]) -> str | None:
    """What is missing for a transfer gap where a run was tested on target languages alone; None where it wasn't."""
    if not languages or set(languages) & set(sources):
        return None
    return (
        f"Transfer gap: unknown, no test texts are in {', '.join(sources)} (data.test.{sources[0]}=FILE names some, "
        "data.made_splits.test=0.1 keeps some of the training texts)"
    )


def _verdict(manifest: Manifest) -> list[str]:
    if manifest.verdict is None:
        return []
    verdict = manifest.verdict
    shown = [f"  - {sentence}" for sentence in verdict.evidence[:EVIDENCE_SHOWN]]
    left = len(verdict.evidence) - EVIDENCE_SHOWN
    more = [f"  - and {left} more in manifest.json"] if left > 0 else []
    return [f"Verdict: {verdict.status}", *shown, *more, *(f"  To do: {remedy}" for remedy in verdict.remedy)]


def _paths(run: RunDirectory) -> list[tuple[str, Path]]:
    places = {
        "run": run.path,
        "model": run.model,
        "adapter": run.adapter,
        "predictions": run.predictions,
        "metrics": run.metrics_path,
        "report": run.report,
    }
    return [(what, where) for what, where in places.items() if where.exists()]
