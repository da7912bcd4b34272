"""`glotune pretrain`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glotune.cli.overrides import refuse_options

if TYPE_CHECKING:
    from rich.table import Table

    from glotune.run.directory import RunDirectory


def pretrain(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe (adapt, nano) or a YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Recipe keys to change, e.g. data.text.ha=ha.csv train.epochs=3",
            callback=refuse_options,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The run directory. [default: runs/NAME-TIME]", show_default=False),
    ] = None,
) -> None:
    """Adapt an encoder to a language or domain, or make one, from plain texts and translation pairs."""
    from glotune.cli.progress import watch
    from glotune.recipe.pretrain import load_pretrain_recipe

    resolved = load_pretrain_recipe(recipe, overrides or [])  # a mistake in it is reported before torch is imported

    from glotune.verbs.pretrain import pretrain as run_recipe

    with watch() as observer:
        run = run_recipe(resolved, out=out, observer=observer, command=["glotune", *sys.argv[1:]])
    show_pretraining(run.path)


def show_pretraining(path: Path) -> None:
    """Prints the held-out metrics of a pretraining run, and the folder of its encoder."""
    from glotune.cli.console import out, show
    from glotune.run.directory import RunDirectory

    run = RunDirectory.open(path)
    out.print(metrics_table(run))
    show(f"model        {run.model}")
    show(f"report       {run.report / 'report.md'}")
    show(f"Use it: glotune train RECIPE model.name={run.model}")


def metrics_table(run: RunDirectory) -> Table:
    """One row per language: masked loss, recall at 1 where there are held-out pairs, cosine with a teacher."""
    from rich.table import Table

    from glotune.words import count, score

    metrics = run.read_metrics()["validation"]
    table = Table(title=f"{run.read_manifest().name}: held out", title_justify="left", box=None, pad_edge=False)
    table.add_column("language", no_wrap=True)
    taught = any("teacher_cosine" in entry for entry in metrics.values())
    for name in ("texts", "masked loss", "candidates", "recall at 1", *(["teacher's cosine"] if taught else [])):
        table.add_column(name, justify="right")
    for language, entry in sorted(metrics.items()):
        loss, recall = entry["masked_loss"], entry["recall_at_1"]
        table.add_row(
            language,
            count(entry["n"]),
            score(loss),
            count(entry["candidates"] or None),
            score(recall),
            *([score(entry["teacher_cosine"])] if taught else []),
        )
    return table
