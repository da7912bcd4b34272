"""From a name or file and overrides to a resolved, validated, hashed recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from glotune.errors import UserError, did_you_mean
from glotune.recipe import yaml
from glotune.recipe.problems import refuse
from glotune.recipe.schema import Recipe

BUILTIN_FOLDER = Path(__file__).parent.parent / "recipes"
MAX_EXTENDS = 10

AnyRecipe = TypeVar("AnyRecipe", bound=BaseModel)


def builtin_recipes(folder: Path = BUILTIN_FOLDER) -> dict[str, Path]:
    """Name -> file of every built-in recipe."""
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


Overrides = Iterable[str] | Mapping[str, Any]
"""``key.path=value`` strings (values are YAML), or {"key.path": value}, ``__`` standing for a dot."""


def load_recipe(source: str | Path | Recipe, *overrides: Overrides) -> Recipe:
    """Loads, overrides and validates a recipe.

    Args:
        source: a built-in name, a YAML file, or a recipe to change.
        overrides: applied in order.

    Raises:
        UserError: no such recipe, no YAML, or invalid; every problem is listed.
    """
    return load_as(Recipe, source, *overrides)


def load_as(schema: type[AnyRecipe], source: str | Path | AnyRecipe, *overrides: Overrides) -> AnyRecipe:
    """`load_recipe` for any recipe schema."""
    if isinstance(source, BaseModel):
        content, where = source.model_dump(mode="json"), "recipe"
    else:
        content, where = read_extended(find_recipe(source)), str(source)
    for given in overrides:
        for key, value in parsed_overrides(given):
            set_key(content, key, value)
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise refuse(error, schema, where) from error


def find_recipe(source: str | Path) -> Path:
    """The file behind a built-in name or path; raises UserError with the nearest name."""
    path = Path(source)
    known = builtin_recipes()
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if path.is_file():
            return path
        raise UserError(
            f"there is no recipe file {path}",
            remedy=did_you_mean(path.stem, known) or "List the built-in ones with: glotune recipes list",
        )
    if str(source) in known:
        return known[str(source)]
    raise UserError(
        f"there is no recipe '{source}'",
        expected=f"a YAML file or one of: {', '.join(known)}",
        remedy=did_you_mean(str(source), known),
    )


def read_extended(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The content of a recipe file with everything it extends merged below it."""
    if path.resolve() in seen or len(seen) >= MAX_EXTENDS:
        raise UserError("'extends' leads back to the recipe itself", where=str(path))
    content = yaml.read(path)
    if not isinstance(content, dict):
        raise UserError("the file holds no keys", where=str(path), expected="a recipe: 'key: value' lines")
    content = anchor_paths(content, path.parent)
    if "extends" not in content:
        return content
    base = content.pop("extends")
    if not isinstance(base, str):
        raise UserError(f"extends is {base!r}", where=str(path), expected="the name or file of one recipe")
    beside = path.parent / base
    below = read_extended(beside if beside.is_file() else find_recipe(base), (*seen, path.resolve()))
    return merge(below, content)


def anchor_paths(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Paths in a recipe file are relative to that file: those that exist there become absolute."""

    def anchor(value: Any) -> Any:
        if isinstance(value, str) and value and not Path(value).is_absolute():
            try:
                return str((folder / value).resolve()) if (folder / value).exists() else value
            except OSError:
                return value
        if isinstance(value, list):
            return [anchor(item) for item in value]
        return {key: anchor(item) for key, item in value.items()} if isinstance(value, dict) else value

    anchored = dict(content)
    for section, keys in (("data", ("train", "validation", "test", "text", "pairs")), ("model", ("name",))):
        if isinstance(anchored.get(section), dict):
            anchored[section] = {
                key: anchor(value) if key in keys else value for key, value in anchored[section].items()
            }
    return anchored


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`, section by section."""
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def parsed_overrides(overrides: Overrides) -> list[tuple[str, Any]]:
    """(key, value) of each override, in order; raises UserError for one without a value."""
    if isinstance(overrides, Mapping):
        return [(key.replace("__", "."), value) for key, value in overrides.items()]
    pairs = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise UserError(f"the override '{override}' has no value", expected="key=value, e.g. train.epochs=3")
        pairs.append((key.strip(), yaml.parse(value, f"override {key}") if value.strip() else None))
    return pairs


def set_key(content: dict[str, Any], key: str, value: Any) -> None:
    """Sets ``a.b.c`` in nested dictionaries, making sections on the way.

    As in `merge`, a section takes the place of what was no section: ``data.train.en=mine.csv`` of a recipe whose
    ``data.train`` is one file. A language code or label after ``data.test.`` may hold no dot.
    """
    *sections, last = key.split(".")
    for section in sections:
        inner = content.get(section)
        content[section] = dict(inner) if isinstance(inner, dict) else {}
        content = content[section]
    content[last] = value


def recipe_yaml(recipe: BaseModel) -> str:
    """The resolved recipe as YAML, every default written out."""
    return yaml.dump(recipe.model_dump(mode="json"))


def recipe_hash(recipe: BaseModel) -> str:
    """A short hash over everything that can change a result: all keys but names, trackers, and what is only shown."""
    only_shown: dict[str, Any] = {"name": True, "description": True, "track": True, "evaluate": {"test"}}
    content = recipe.model_dump(mode="json", exclude=only_shown)
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
