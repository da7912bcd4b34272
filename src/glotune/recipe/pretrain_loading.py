"""From a name or file and overrides to a validated pretraining recipe; built-in ones have a folder of their own."""

from __future__ import annotations

from pathlib import Path

from glotune.errors import UserError, did_you_mean
from glotune.recipe.loading import BUILTIN_FOLDER, Overrides, builtin_recipes, load_as
from glotune.recipe.pretrain import PretrainRecipe

PRETRAIN_FOLDER = BUILTIN_FOLDER / "pretrain"


def load_pretrain_recipe(source: str | Path | PretrainRecipe, *overrides: Overrides) -> PretrainRecipe:
    """Loads, overrides and validates a pretraining recipe.

    Args:
        source: a built-in name, a YAML file, or a recipe to change.
        overrides: lists of ``key.path=value`` (values are YAML), or {"key.path": value}.

    Raises:
        UserError: no such recipe, no YAML, or invalid; every problem is listed.
    """
    if isinstance(source, PretrainRecipe):
        return load_as(PretrainRecipe, source, *overrides)
    known = builtin_recipes(PRETRAIN_FOLDER)
    if str(source) in known:
        return load_as(PretrainRecipe, known[str(source)], *overrides)
    if not Path(source).is_file() and Path(source).suffix not in (".yaml", ".yml"):
        hint = "It is a recipe to fine-tune by: use glotune train" if str(source) in builtin_recipes() else None
        raise UserError(
            f"there is no pretraining recipe '{source}'",
            expected=f"a YAML file or one of: {', '.join(known)}",
            remedy=hint or did_you_mean(str(source), known),
        )
    return load_as(PretrainRecipe, source, *overrides)
