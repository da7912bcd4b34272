"""From a name or file and overrides to a resolved, validated, hashed recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from glotune.errors import UserError, did_you_mean
from glotune.recipe import yaml
from glotune.recipe.keys import LATER
from glotune.recipe.paths import PATH_KEYS, exists, literal_paths, names_paths
from glotune.recipe.problems import refuse, section_in
from glotune.recipe.schema import Recipe
from glotune.recipe.values import Written, alternatives

BUILTIN_FOLDER = Path(__file__).parent.parent / "recipes"
MAX_EXTENDS = 10
DATA_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
"""Of files that are typed in the place of a recipe."""

AnyRecipe = TypeVar("AnyRecipe", bound=BaseModel)


def builtin_recipes(folder: Path = BUILTIN_FOLDER) -> dict[str, Path]:
    """Name -> file of every built-in recipe."""
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


Overrides = Iterable[str] | Mapping[str, Any]
"""``key.path=value`` strings, or {"key.path": value}, ``__`` standing for a dot.

A value in a string is YAML, but where one string is wanted (a path, a revision, a column name) it is what is written.
"""


def load_recipe(source: str | Path | Recipe | Mapping[str, Any], *overrides: Overrides) -> Recipe:
    """Loads, overrides and validates a recipe.

    Args:
        source: a built-in name, a YAML file, a recipe to change, or the content of one.
        overrides: applied in order.

    Raises:
        UserError: no such recipe, no YAML, or invalid; every problem is listed.
    """
    return load_as(Recipe, source, *overrides)


def load_as(
    schema: type[AnyRecipe], source: str | Path | AnyRecipe | Mapping[str, Any], *overrides: Overrides
) -> AnyRecipe:
    """`load_recipe` for any recipe schema."""
    if isinstance(source, BaseModel):
        content, where = source.model_dump(mode="json"), "recipe"
    elif isinstance(source, Mapping):
        content, where = dict(source), "recipe"
    else:
        content, where = read_extended(find_recipe(source)), str(source)
    for given in overrides:
        for key, value in parsed_overrides(given, schema):
            set_key(content, key, value, schema)
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise refuse(error, schema, where) from error


def find_recipe(source: str | Path) -> Path:
    """The file of a built-in name or path; raises UserError with the nearest name."""
    path = Path(source)
    known = builtin_recipes()
    if path.is_file() and path.name.lower().removesuffix(".gz").endswith(DATA_SUFFIXES):
        raise UserError(
            f"{source} is a data file, and a recipe comes first",
            expected=f"a YAML file or one of: {', '.join(known)}",
            remedy=f"Name the file as data.train, e.g. glotune train e5 data.train={source}",
        )
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if path.is_file():
            return path
        raise UserError(
            f"there is no recipe file {path}",
            remedy=did_you_mean(path.stem, known) or "List the built-in ones with: glotune recipes list",
        )
    if str(source) in known:
        return known[str(source)]
    is_auto = str(source) == "auto"
    raise UserError(
        f"there is no recipe '{source}'",
        expected=f"a YAML file or one of: {', '.join(known)}",
        remedy="glotune train auto chooses one; elsewhere name the recipe.yaml of such a run"
        if is_auto
        else did_you_mean(str(source), known),
    )


def read_extended(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The content of a recipe file with everything it extends merged below it; values as they are written, no number
    is one yet."""
    if path.resolve() in seen or len(seen) >= MAX_EXTENDS:
        raise UserError("'extends' leads back to the recipe itself", where=str(path))
    content = yaml.read(path)
    if not isinstance(content, dict):
        raise UserError("the file holds no keys", where=str(path), expected="a recipe: 'key: value' lines")
    content = anchor_paths(content, path.parent, ("data",) if _is_of_run(path) else tuple(PATH_KEYS))
    if "extends" not in content:
        return content
    base = content.pop("extends")
    if not isinstance(base, str):
        raise UserError(f"extends is {base!r}", where=str(path), expected="the name or file of one recipe")
    beside = path.parent / base
    below = read_extended(beside if beside.is_file() else find_recipe(base), (*seen, path.resolve()))
    return merge(below, content)


def file_schema(model: type[BaseModel]) -> dict[str, Any]:
    """JSON schema of a file with the keys of a recipe: one that extends another needs to give none of them itself."""
    schema = model.model_json_schema()
    schema["properties"] = {
        "extends": {
            "type": "string",
            "description": "Name or file of another one: what it says holds where this one says nothing.",
        },
        **schema["properties"],
    }
    schema["anyOf"] = [{"required": ["extends"]}, {"required": schema.pop("required")}]
    return schema


def _is_of_run(path: Path) -> bool:
    """Whether a recipe is the one that a run keeps. Of what lies beside it only the run's own texts are meant by it: an
    encoder ``model`` is the folder that training read, and not the classifier that it saved there.
    """
    return path.name == "recipe.yaml" and (path.parent / "manifest.json").is_file()


def anchor_paths(content: dict[str, Any], folder: Path, sections: Sequence[str] = tuple(PATH_KEYS)) -> dict[str, Any]:
    """Paths in a recipe file are relative to that file: those that exist there become absolute.

    Args:
        sections: those of `PATH_KEYS` that are looked at.
    """

    def anchor(value: Any) -> Any:
        is_null = isinstance(value, Written) and value.value is None
        if isinstance(value, str) and value and not is_null and not Path(value).is_absolute():
            return str((folder / value).resolve()) if exists(folder / value) else value
        if isinstance(value, list):
            return [anchor(item) for item in value]
        return {key: anchor(item) for key, item in value.items()} if isinstance(value, dict) else value

    anchored = dict(content)
    for section in sections:
        if isinstance(anchored.get(section), dict):
            anchored[section] = {
                key: anchor(value) if key in PATH_KEYS[section] else value for key, value in anchored[section].items()
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


def parsed_overrides(overrides: Overrides, schema: type[BaseModel] = Recipe) -> list[tuple[str, Any]]:
    """(key, value) of each override, in order; raises UserError for one without a value."""
    if isinstance(overrides, Mapping):
        return [(key.replace("__", "."), value) for key, value in overrides.items()]
    pairs = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise UserError(f"the override '{override}' has no value", expected="key=value, e.g. train.epochs=3")
        pairs.append((key.strip(), _override_value(key.strip(), value, schema)))
    return pairs


def _override_value(key: str, text: str, schema: type[BaseModel]) -> Any:
    """The value after ``key=``: YAML, but a single string is taken literally; nothing at all is null."""
    if not text.strip():
        return None
    parts, annotation = split_key(schema, key)
    if names_paths(parts) and exists(text):
        return text
    text, kinds = text.strip(), alternatives(annotation)
    if names_paths(parts) and (found := literal_paths(text)) is not None:
        return found
    has_items = text[0] in "[{" and any(get_origin(kind) for kind in kinds)
    if str not in kinds or has_items:
        return yaml.parse(text, f"override {key}")
    if text in ("null", "Null", "NULL", "~"):
        return Written(text, None)
    quoted = yaml.unquoted(text)
    return text if quoted is None else quoted


def split_key(schema: type[BaseModel], key: str) -> tuple[list[str], Any]:
    """``a.b.c`` cut where the schema has sections and mappings, and the type that stands there; None: no such key.

    What follows a mapping's dot is one key of it, dots and all: a label ``1.10`` of ``loss.class_weights.1.10``.
    """
    parts: list[str] = []
    kind: Any = schema
    while key:
        section = section_in(kind)
        mapping = next((each for each in alternatives(kind) if get_origin(each) is dict), None)
        if section is not None:
            part, _, key = key.partition(".")
            field = section.model_fields.get(part)
            kind = field.annotation if field else None
            parts.append(part)
        elif mapping is not None:
            return [*parts, key], get_args(mapping)[1]
        else:
            return [*parts, *key.split(".")], None
    return parts, kind


def set_key(content: dict[str, Any], key: str, value: Any, schema: type[BaseModel] = Recipe) -> None:
    """Sets ``a.b.c`` in nested dictionaries, making sections on the way.

    As in `merge`, a section takes the place of what was no section: ``data.train.en=mine.csv`` of a recipe whose
    ``data.train`` is one file.
    """
    *sections, last = split_key(schema, key)[0]
    for section in sections:
        inner = content.get(section)
        content[section] = dict(inner) if isinstance(inner, dict) else {}
        content = content[section]
    content[last] = value


def with_keys(content: dict[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `content` with `keys` over it; a dotted key replaces what stands there, a section is merged."""
    changed = dict(content)
    for key, value in keys.items():
        if "." in key:
            set_key(changed, key, value)
        elif isinstance(value, dict):
            changed = merge(changed, {key: value})
        else:
            changed[key] = value
    return changed


def value_at(recipe: BaseModel, key: str) -> Any:
    """What stands at a dotted key, as JSON; None too where the sections above it are null."""
    value: Any = recipe.model_dump(mode="json")
    for part in split_key(type(recipe), key)[0]:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def recipe_yaml(recipe: BaseModel) -> str:
    """The resolved recipe as YAML, every default written out."""
    return yaml.dump(recipe.model_dump(mode="json"))


def recipe_hash(recipe: BaseModel) -> str:
    """A short hash over everything that can change a result: all keys but names, trackers, and what is only shown."""
    only_shown: dict[str, Any] = {"name": True, "description": True, "track": True, "evaluate": {"test", "baselines"}}
    content = recipe.model_dump(mode="json", exclude=only_shown)
    for path, unset in LATER.items():
        *sections, key = path.split(".")
        inner = content
        for section in sections:
            inner = inner.get(section, {})
        if inner.get(key, ...) == unset:
            del inner[key]
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
