"""`glotune recipes`: list, show, schema."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    help="List the built-in recipes, show one, or print the schema of all keys.", invoke_without_command=True
)


@app.callback()
def _recipes(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_recipes()


@app.command("list")
def list_recipes() -> None:
    """List the built-in recipes."""
    from rich.table import Table

    from glotune.cli.console import out
    from glotune.recipe import builtin_recipes
    from glotune.recipe.loading import read_extended

    table = Table(box=None, pad_edge=False)
    table.add_column("recipe", style="bold", no_wrap=True)
    table.add_column("description")
    for name, path in builtin_recipes().items():
        content = read_extended(path)
        table.add_row(name, content.get("description", ""))
    out.print(table)


@app.command("show")
def show_recipe(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe or a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="With every default written out and overrides applied, validated.")
    ] = False,
) -> None:
    """Print a recipe with its comments: the command, and what each knob does."""
    from glotune.cli.console import show
    from glotune.recipe import load_recipe, recipe_yaml
    from glotune.recipe.loading import find_recipe

    if resolved or overrides:
        show(recipe_yaml(load_recipe(recipe, overrides or [])).rstrip())
    else:
        show(find_recipe(recipe).read_text(encoding="utf-8").rstrip())


@app.command("schema")
def show_schema() -> None:
    """Print the JSON schema of a recipe: every key with its type, default and bounds, for people and editors."""
    import json

    from glotune.cli.console import show
    from glotune.recipe import Recipe

    show(json.dumps(Recipe.model_json_schema(), indent=2, ensure_ascii=False))
