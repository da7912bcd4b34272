"""`glotune list`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from glotune.run.records import Manifest

RUNS = Path("runs")


def list_runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to look.")] = RUNS,
) -> None:
    """List the runs in a folder, newest first, with where they stand and mean test macro F1 (of scores: pearson)."""
    from rich.table import Table

    from glotune.cli.console import out, say
    from glotune.errors import UserError
    from glotune.run.directory import RunDirectory
    from glotune.run.state import state_of

    if folder == RUNS and not folder.exists():
        say("No runs here yet. Train one with: glotune quickstart")
        return
    if not folder.is_dir():
        raise UserError(
            f"there is no folder {folder}", expected="a folder of runs", remedy="Train one with: glotune quickstart"
        )
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "status", "verdict", "score (mean of test)", "created"):
        table.add_column(heading, no_wrap=heading != "run")
    rows, unreadable = [], []
    for path in sorted(place.parent for place in folder.glob("*/manifest.json")):
        run = RunDirectory(path)
        try:
            manifest, metrics = run.read_manifest(), run.read_metrics()
        except UserError as error:
            unreadable.append(str(error))
            continue
        verdict = manifest.verdict.status if manifest.verdict else "-"
        state = state_of(run, manifest).value
        rows.append((manifest.created, [str(path), state, verdict, _mean(metrics, manifest), manifest.created]))
    for _, cells in sorted(rows, reverse=True):
        table.add_row(*cells)
    if rows:
        out.print(table)
    else:
        say(f"No runs in {folder}. Train one with: glotune quickstart")
    for problem in unreadable:
        say(f"Not listed: {problem}")


def _mean(metrics: dict[str, object], manifest: Manifest) -> str:
    from glotune.recipe.kinds import KINDS

    languages, metric = metrics.get("test", {}), KINDS[manifest.task].metric
    scores = [entry.get(metric) for entry in languages.values()] if isinstance(languages, dict) else []
    known = [score for score in scores if score is not None]
    return f"{sum(known) / len(known):.4f} ({len(known)})" if known else "-"
