"""`glotune list`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from glotune.run.records import Manifest

RUNS = Path("runs")


def list_runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to look.")] = RUNS,
) -> None:
    """List the runs in a folder and below, newest first: where they stand, mean test macro F1 (of scores: pearson)."""
    from rich.table import Table

    from glotune.cli.console import out, say
    from glotune.errors import UserError
    from glotune.run.state import readable_runs, state_of

    if folder == RUNS and not folder.exists():
        say("No runs here yet. Train one with: glotune quickstart")
        return
    if not folder.is_dir():
        raise UserError(
            f"there is no folder {folder}", expected="a folder of runs", remedy="Train one with: glotune quickstart"
        )
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "status", "verdict", "mean over", "score", "created"):
        table.add_column(heading, no_wrap=heading != "run", overflow="fold")
    readable, problems = readable_runs(folder)
    rows = []
    for run, manifest in readable:
        try:
            mean = _mean(run.read_metrics(), manifest)
        except UserError as error:
            problems.append(str(error))
            continue
        verdict = manifest.verdict.status if manifest.verdict else "-"
        cells = [str(run.path), state_of(run, manifest).value, verdict, *mean, manifest.created]
        rows.append((manifest.created, cells))
    for _, cells in sorted(rows, reverse=True):
        table.add_row(*cells)
    if rows:
        out.print(table)
    else:
        say(f"No runs in {folder}. Train one with: glotune quickstart")
    for problem in problems:
        say(f"Not listed: {problem}")


def _mean(metrics: dict[str, Any], manifest: Manifest) -> tuple[str, str]:
    """What the mean is over, and the mean; as the report tells it."""
    from glotune.recipe.kinds import KINDS
    from glotune.run.metrics import averaged, mean_name

    languages, metric = metrics.get("test", {}), KINDS[manifest.task].metric
    scores = {code: entry.get(metric) for code, entry in languages.items()}
    known = [code for code, score in scores.items() if score is not None]
    told = averaged(known, manifest.source_languages)
    if not told:
        return "-", "-"
    name = told[0] if len(told) == 1 else mean_name(told, manifest.source_languages)
    return name, f"{sum(scores[code] for code in told) / len(told):.4f}"
