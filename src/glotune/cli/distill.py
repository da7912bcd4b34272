"""`glotune distill`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from glotune.cli.overrides import refuse_options


def distill(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe that names a teacher: a built-in one or a YAML file.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Recipe keys to change, e.g. distill.teacher=runs/teacher",
            callback=refuse_options,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The run directory. [default: runs/NAME-TIME]", show_default=False),
    ] = None,
) -> None:
    """Make a small model from a large one: an encoder (pretraining recipe) or a classifier (distill.teacher)."""
    from glotune.cli.pretrain import show_pretraining
    from glotune.cli.progress import watch
    from glotune.cli.results import show_run
    from glotune.recipe.pretrain import PretrainRecipe, load_taught_recipe

    resolved = load_taught_recipe(recipe, overrides or [])  # a mistake in it is reported before torch is imported

    command = ["glotune", *sys.argv[1:]]
    if isinstance(resolved, PretrainRecipe):
        from glotune.verbs.pretrain import pretrain

        with watch() as observer:
            run = pretrain(resolved, out=out, observer=observer, command=command)
        show_pretraining(run.path)
        return

    from glotune.verbs.train import train

    with watch() as observer:
        run = train(resolved, out=out, observer=observer, command=command)
    show_run(run.path)
