"""`glotune train`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glotune.cli.overrides import refuse_options

if TYPE_CHECKING:
    from glotune.recipe import Recipe


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A built-in recipe (see: glotune recipes), a YAML file, or auto: chosen by the texts and the machine.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Recipe keys to change, e.g. data.train=en.csv train.epochs=3",
            callback=refuse_options,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The run directory; runs/NAME-TIME without it.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only measure and show the plan of the run on this machine; creates no run.")
    ] = False,
) -> None:
    """Train one recipe; the run directory holds the model, predictions, metrics and report."""
    from glotune.cli.progress import watch
    from glotune.cli.results import show_run
    from glotune.recipe import load_recipe
    from glotune.recipe.auto import AUTO

    is_auto = recipe == AUTO
    resolved = None if is_auto else load_recipe(recipe, overrides or [])  # a mistake shows before torch is imported

    if plan:
        show_plan(resolved or _chosen(overrides or []))
        return

    from glotune.verbs.train import train as train_recipe

    with watch() as observer:
        given = (overrides or []) if is_auto else []
        run = train_recipe(resolved or recipe, given, out=out, observer=observer, command=["glotune", *sys.argv[1:]])
    show_run(run.path)


def _chosen(overrides: list[str]) -> Recipe:
    """What auto chooses, shown with its reasons."""
    from glotune.cli.console import show
    from glotune.data.given_rows import GivenRows
    from glotune.verbs.auto import choice_lines, choose_recipe

    found = choose_recipe(GivenRows(), overrides)
    for line in choice_lines(found.choices):
        show(line)
    return found.recipe


def _by_language(rows: Mapping[str, int]) -> str:
    """``642: en``, ``2,880: 180 each of ar, bn, ...``, ``1,200: en 900, bn 300``."""
    sizes = set(rows.values())
    if len(rows) == 1:
        return f"{sum(rows.values()):,}: {next(iter(rows))}"
    if len(sizes) == 1:
        return f"{sum(rows.values()):,}: {sizes.pop():,} each of {', '.join(rows)}"
    return f"{sum(rows.values()):,}: {', '.join(f'{name} {count:,}' for name, count in rows.items())}"


def show_plan(recipe: Recipe) -> None:
    """Prints each choice with its reason, what was measured, and what is done to the encoder."""
    from glotune.cli.console import show_table
    from glotune.cli.progress import watch
    from glotune.engine.plan import plan_rows
    from glotune.verbs.preview import preview

    with watch() as observer:
        found = preview(recipe, observer=observer)
    counted = [(split, _by_language(languages)) for split, languages in found.rows.items()]
    show_table("Texts", counted)
    show_table(f"Plan of {recipe.name}", plan_rows(found.plan))
    surgery = [(change.kind.replace("_", " "), change.description) for change in found.changes]
    show_table("What is done to the encoder", surgery)
