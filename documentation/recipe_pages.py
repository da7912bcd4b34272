"""Reference pages of the recipe, the study and the pretraining recipe: every key, from the pydantic models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

Schema = Mapping[str, Any]
"""A JSON schema, or a part of one."""

BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minItems": "at least {}",
}
WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "null": "null",
}


@dataclass(frozen=True)
class Page:
    """A reference page: where it lies in the docs folder, its head, and the model that it describes."""

    place: str
    head: str
    model: type[BaseModel]

    @property
    def text(self) -> str:
        """The page as Markdown."""
        return self.head.strip() + "\n\n" + "\n\n".join(_sections(self.model.model_json_schema()))


def _sections(schema: Schema) -> Iterator[str]:
    """A heading and a table for the top level, then for each section in the order of its key."""
    parts = dict(_walk(schema, schema, ""))
    for path, part in parts.items():
        title = f"## {path}" if "." not in path else f"### {path}"
        yield "\n\n".join([title if path else "## At the top", *_prose(part, path), _table(schema, part, path)])


def _prose(part: Schema, path: str) -> list[str]:
    return [part["description"].strip()] if path and "description" in part else []


def _walk(root: Schema, part: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """(dotted path, schema) of a section and of all sections inside it."""
    yield path, part
    for key, field in part["properties"].items():
        inner, step = _section_of(root, field)
        if inner is not None:
            yield from _walk(root, inner, f"{path}.{key}{step}" if path else f"{key}{step}")


def _section_of(root: Schema, field: Schema) -> tuple[Schema | None, str]:
    """The section that a key holds, and what stands between the key and the section's own keys."""
    for choice in field.get("anyOf", [field]):
        if "$ref" in choice:
            return root["$defs"][choice["$ref"].rpartition("/")[2]], ""
        if "$ref" in choice.get("items", {}):
            return root["$defs"][choice["items"]["$ref"].rpartition("/")[2]], "[]"
        values = _values(choice)
        if "$ref" in values:
            return root["$defs"][values["$ref"].rpartition("/")[2]], ".NAME"
    return None, ""


def _values(field: Schema) -> Schema:
    """What a map holds; empty where it may hold anything, or is none. Keys with a pattern have a place of their own."""
    by_pattern = list(field.get("patternProperties", {}).values())
    found = by_pattern[0] if by_pattern else field.get("additionalProperties")
    return found if isinstance(found, dict) else {}


def _table(root: Schema, part: Schema, path: str) -> str:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in part["properties"].items():
        inner, step = _section_of(root, field)
        full = f"{path}.{key}" if path else key
        default = "**required**" if key in part.get("required", []) else _default(field, inner)
        cells = [f"`{full}`", _type(field, full + step), default, _meaning(field, inner)]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _type(field: Schema, section: str) -> str:
    """The type in words, with its bounds; a section is a link to its table."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(choice, section) for choice in field["anyOf"]))
    if "$ref" in field:
        return f"[section](#{_anchor(section)})"
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field["type"] == "array":
        return _array(field, section)
    if field["type"] == "object":
        values = _values(field)
        return f"map of {_type(values, section)}" if values else "recipe keys"
    limits = [words.format(f"{field[bound]:,}") for bound, words in BOUNDS.items() if bound in field]
    return WORDS[field["type"]] + (f" {', '.join(limits)}" if limits else "")


def _array(field: Schema, section: str) -> str:
    if "prefixItems" in field:
        return "list of " + ", ".join(_type(item, section) for item in field["prefixItems"])
    items = field.get("items")
    return f"list of {_type(items, section)}" if items else "list"


def _anchor(section: str) -> str:
    """As the Markdown renderer slugs the section's heading."""
    return "".join(character for character in section.lower() if character.isalnum() or character in "_-")


def _default(field: Schema, inner: Schema | None) -> str:
    """As JSON; nothing for a section, whose keys have defaults of their own."""
    made: dict[str, Any] = {"array": [], "object": {}}
    value = field["default"] if "default" in field else made.get(field.get("type", ""))
    if inner is not None and isinstance(value, dict) and value:
        return ""
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _meaning(field: Schema, inner: Schema | None) -> str:
    words = field.get("description") or (inner or {}).get("description", "")
    return " ".join(words.replace("``", "`").replace("|", "\\|").split())


def pages() -> list[Page]:
    """The three pages."""
    from glotune.recipe.pretrain import PretrainRecipe
    from glotune.recipe.schema import Recipe
    from glotune.recipe.study import StudyRecipe

    return [
        Page("reference/recipe.md", RECIPE, Recipe),
        Page("reference/study.md", STUDY, StudyRecipe),
        Page("reference/pretraining.md", PRETRAINING, PretrainRecipe),
    ]


MADE = "This page is made from the code that reads the keys: it can't be out of date."

RECIPE = f"""
# Recipe keys

Every key of `glotune train`. {MADE} `glotune recipes schema` prints the same as JSON schema, for editors.

A recipe file also takes `extends: NAME`: a built-in recipe or another file whose keys lie below its own. On the
command line a key is written with dots: `optimizer.learning_rate=1e-4`. An unknown key is refused, with the nearest
valid name.
"""

STUDY = f"""
# Study keys

Every key of `glotune study`. {MADE} How studies work: [Studies](../studies.md).
"""

PRETRAINING = f"""
# Pretraining keys

Every key of `glotune pretrain`. {MADE} How pretraining works: [glotune-nano and `glotune pretrain`](../nano.md).
"""
