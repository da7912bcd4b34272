"""The recipe: schema, loading, and errors that list every problem at once.

The schema is imported when first used: its models take half a second to build, and readers of finished runs need
their keys alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glotune.recipe.loading import builtin_recipes, load_recipe, recipe_hash, recipe_yaml
    from glotune.recipe.schema import Recipe

__all__ = ["Recipe", "builtin_recipes", "load_recipe", "recipe_hash", "recipe_yaml"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'glotune.recipe' has no attribute '{name}'")
    home = import_module("glotune.recipe.schema" if name == "Recipe" else "glotune.recipe.loading")
    globals()[name] = getattr(home, name)
    return globals()[name]
