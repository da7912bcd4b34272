"""`glotune recipes`: list, show, schema."""

from __future__ import annotations

from typing import Annotated

import typer

from glotune.cli.overrides import refuse_options

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
    from glotune.recipe.auto import AUTO
    from glotune.recipe.loading import read_extended
    from glotune.recipe.pretrain import PRETRAIN_FOLDER

    for command, found in (("train", builtin_recipes()), ("pretrain", builtin_recipes(PRETRAIN_FOLDER))):
        if not found:
            continue
        table = Table(box=None, pad_edge=False)
        table.add_column(f"glotune {command}", style="bold", no_wrap=True, min_width=24)
        table.add_column("description")
        for name, path in found.items():
            content = read_extended(path)
            table.add_row(name, content.get("description", ""))
        if command == "train":
            table.add_row(AUTO, "None of these: chosen by the texts and the machine, each key with its reason")
        out.print(table)


@app.command("show")
def show_recipe(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A built-in recipe or a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", callback=refuse_options)] = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Validated, with all defaults and overrides.")] = False,
) -> None:
    """Print a recipe with its comments: the command, and what each knob does."""
    from glotune.cli.console import show
    from glotune.recipe import builtin_recipes, load_recipe, recipe_yaml
    from glotune.recipe.auto import AUTO, TABLE
    from glotune.recipe.loading import find_recipe
    from glotune.recipe.pretrain import PRETRAIN_FOLDER, load_pretrain_recipe

    pretraining = builtin_recipes(PRETRAIN_FOLDER)
    if recipe == AUTO and not overrides and not resolved:
        show(TABLE.read_text(encoding="utf-8").rstrip())
    elif resolved or overrides:
        load = load_pretrain_recipe if recipe in pretraining else load_recipe
        show(recipe_yaml(load(recipe, overrides or [])).rstrip())
    else:
        path = pretraining[recipe] if recipe in pretraining else find_recipe(recipe)
        show(path.read_text(encoding="utf-8").rstrip())


@app.command("schema")
def show_schema(
    pretrain: Annotated[bool, typer.Option("--pretrain", help="The schema of glotune pretrain.")] = False,
) -> None:
    """Print every key with its type, default, bounds and meaning, as JSON schema.

    Written to a file, it lets an editor complete and check recipes: glotune recipes schema > recipe.schema.json, and
    "# yaml-language-server: $schema=recipe.schema.json" as the first line of a recipe.
    """
    from glotune.cli.console import show_json
    from glotune.recipe import Recipe
    from glotune.recipe.loading import file_schema
    from glotune.recipe.pretrain import PretrainRecipe

    show_json(file_schema(PretrainRecipe if pretrain else Recipe))
