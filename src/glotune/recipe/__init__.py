"""The recipe: schema, loading, and errors that list every problem at once."""

from glotune.recipe.loading import builtin_recipes, load_recipe, recipe_hash, recipe_yaml
from glotune.recipe.schema import Recipe

__all__ = ["Recipe", "builtin_recipes", "load_recipe", "recipe_hash", "recipe_yaml"]
