"""`glotune train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A built-in recipe (see: glotune recipes) or a YAML file.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Recipe keys to change, e.g. data.train=en.csv train.epochs=3"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The run directory; runs/NAME-TIME without it.")
    ] = None,
) -> None:
    """Train one recipe; the run directory holds the model, predictions, metrics and report."""
    from glotune.cli.progress import watch
    from glotune.cli.results import show_run
    from glotune.recipe import load_recipe

    resolved = load_recipe(recipe, overrides or [])  # a mistake in it is told before torch is imported

    from glotune.run import train as train_recipe

    with watch() as observer:
        run = train_recipe(resolved, out=out, observer=observer, command=["glotune", *sys.argv[1:]])
    show_run(run.path)
