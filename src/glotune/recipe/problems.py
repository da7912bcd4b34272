"""Turns validation errors into a list of problems, each with its key, what was found and what is expected."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from glotune.errors import UserError, nearest
from glotune.recipe.values import plain
from glotune.words import counted

MISSING_EXAMPLES = {
    "data": "data.train=FILE",
    "data.train": "data.train=FILE",
    "model": "model.name=NAME",
    "search.budget": "budget: {runs: 20} or budget: {minutes: 60} in the section search",
    "search.space": "space: {KEY: {low: LOW, high: HIGH}} in the section search",
    "model.name": "model.name=NAME (Hub name, folder, or glotune-nano)",
}
"""How a key without a default is given, as an override."""

PLAIN_TYPES = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "string": "a string",
    "list": "a list",
}
"""What pydantic's kinds of error expect, said once: its sentences repeat themselves."""


def refuse(error: ValidationError, schema: type[BaseModel], where: str, what: str = "recipe") -> UserError:
    """One UserError that lists every problem at once."""
    problems = list(dict.fromkeys(_describe(details, schema) for details in _by_key(error)))
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the {what}"
    listed = "".join(f"\n  - {problem}" for problem in problems)
    schema_command = "glotune study schema" if what == "study" else "glotune recipes schema"
    return UserError(f"{count}:{listed}\nAll keys, types and defaults: {schema_command}", where=where)


def _by_key(error: ValidationError) -> list[list[ErrorDetails]]:
    """The errors at each key: a union reports one per member, and the first says what kind of problem it is.

    A member that fits but for a key inside it speaks for the union: the others' complaint that it is no file or list
    is left out.
    """
    by_key: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_key.setdefault(tuple(_key_parts(detail)), []).append(detail)
    outer = {parts[:length] for parts in by_key for length in range(1, len(parts))}
    return [
        details
        for parts, details in by_key.items()
        if parts not in outer or not all(detail["type"].endswith("_type") for detail in details)
    ]


def _key_parts(detail: ErrorDetails) -> list[str]:
    """The key path without pydantic's names for union members (``str``, ``list[str]``, ``literal[...]``)."""
    *sections, last = detail["loc"] or ("",)
    parts = [str(part) for part in sections if not _is_union_member(part)]
    if detail["type"] == "extra_forbidden" or not _is_union_member(last):
        parts.append(str(last))
    return parts


def _is_union_member(part: int | str) -> bool:
    return isinstance(part, str) and ("[" in part or part in ("str", "int", "float", "dict", "bool"))


def _describe(details: list[ErrorDetails], schema: type[BaseModel]) -> str:
    detail = details[0]
    parts = _key_parts(detail)
    key = ".".join(parts) or "recipe"
    found = _short(plain(detail["input"]))
    if detail["type"] == "extra_forbidden":
        known = known_keys(schema, parts[:-1])
        close = nearest(parts[-1], known)
        elsewhere = [key for key in all_keys(schema) if key.rpartition(".")[2] == parts[-1]]
        hint = f"known here: {', '.join(known)}"
        meant = elsewhere or ([".".join([*parts[:-1], close])] if close else [])
        if meant:
            hint = "did you mean " + " or ".join(f"'{each}'" for each in meant) + "?"
        return f"{key}: unknown key ({hint})"
    if detail["type"] == "missing":
        return f"{key}: missing; give it as {MISSING_EXAMPLES.get(key, f'{key}=VALUE')}"
    if detail["type"] == "value_error":
        return f"{key}: {detail['msg'].removeprefix('Value error, ')}"
    # Where one member of a union is right but for its length, the others have nothing to say.
    short = [each for each in details if each["type"] == "too_short"]
    expected = " or ".join(dict.fromkeys(_expected(each) for each in short or details))
    close = _near_value(detail)
    hint = f" (did you mean '{close}'?)" if close else ""
    return f"{key}: found {found}, expected {expected}{hint}"


def _expected(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "literal_error":
            return f"one of {context['expected']}"
        case "greater_than":
            return f"a number above {context['gt']:g}"
        case "greater_than_equal":
            return f"a number of at least {context['ge']:g}"
        case "less_than":
            return f"a number below {context['lt']:g}"
        case "less_than_equal":
            return f"a number of at most {context['le']:g}"
        case "too_short":
            return f"at least {counted(context['min_length'], 'item')}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "a section with keys of its own"
        case "string_pattern_mismatch":
            return "letters, digits, '.', '_' and '-', starting with a letter or digit"
    kind = detail["type"].partition("_")[0]  # int_parsing, int_type, int_from_float: each says the same
    if kind in PLAIN_TYPES:
        return PLAIN_TYPES[kind]
    return detail["msg"].removeprefix("Input should be ")


def _near_value(detail: ErrorDetails) -> str | None:
    if detail["type"] != "literal_error" or not isinstance(detail["input"], str):
        return None
    options = [part.strip(" '") for part in detail["ctx"]["expected"].replace(" or ", ", ").split(",")]
    return nearest(detail["input"], options)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def known_keys(schema: type[BaseModel], parts: list[str]) -> list[str]:
    """The keys that the section at `parts` knows."""
    section: type[BaseModel] = schema
    for part in parts:
        field = section.model_fields.get(part)
        inner = section_in(field.annotation) if field else None
        if inner is None:
            return []
        section = inner
    return list(section.model_fields)


def all_keys(schema: type[BaseModel], above: str = "") -> list[str]:
    """Every key with the sections above it: ``name``, ``train.epochs``, ``model.freeze.layers``, ..."""
    found = []
    for name, field in schema.model_fields.items():
        inner = section_in(field.annotation)
        found += [f"{above}{name}", *(all_keys(inner, f"{above}{name}.") if inner else [])]
    return found


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a key of this type holds, if any."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := section_in(inner))), None)
