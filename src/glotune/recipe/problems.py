"""Turns validation errors into a list of problems, each with its key, what was found and what is expected."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from glotune.errors import UserError, nearest

MISSING_EXAMPLES = {
    "data": "data.train=FILE",
    "data.train": "data.train=FILE",
    "model": "model.name=NAME",
    "model.name": "model.name=NAME (Hub name, folder, or glotune-nano)",
}
"""How a key without a default is given, as an override."""


def refuse(error: ValidationError, schema: type[BaseModel], where: str, what: str = "recipe") -> UserError:
    """One UserError that lists every problem at once."""
    problems = list(dict.fromkeys(_describe(detail, schema) for detail in _merged(error)))
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the {what}"
    listed = "".join(f"\n  - {problem}" for problem in problems)
    schema_command = "glotune study schema" if what == "study" else "glotune recipes schema"
    return UserError(f"{count}:{listed}\nAll keys, types and defaults: {schema_command}", where=where)


def _merged(error: ValidationError) -> list[ErrorDetails]:
    """A union reports one error per member; the first one at each key speaks for it."""
    by_key: dict[tuple[str, ...], ErrorDetails] = {}
    for detail in error.errors(include_url=False):
        by_key.setdefault(tuple(_key_parts(detail)), detail)
    return list(by_key.values())


def _key_parts(detail: ErrorDetails) -> list[str]:
    """The key path without pydantic's names for union members (``str``, ``list[str]``, ``literal[...]``)."""
    *sections, last = detail["loc"] or ("",)
    parts = [str(part) for part in sections if not _is_union_member(part)]
    if detail["type"] == "extra_forbidden" or not _is_union_member(last):
        parts.append(str(last))
    return parts


def _is_union_member(part: int | str) -> bool:
    return isinstance(part, str) and ("[" in part or part in ("str", "int", "float", "dict", "bool"))


def _describe(detail: ErrorDetails, schema: type[BaseModel]) -> str:
    parts = _key_parts(detail)
    key = ".".join(parts) or "recipe"
    found = _short(detail["input"])
    if detail["type"] == "extra_forbidden":
        known = known_keys(schema, parts[:-1])
        close = nearest(parts[-1], known)
        hint = f"did you mean '{close}'?" if close else f"known here: {', '.join(known)}"
        return f"{key}: unknown key ({hint})"
    if detail["type"] == "missing":
        return f"{key}: missing; give it as {MISSING_EXAMPLES.get(key, f'{key}=VALUE')}"
    if detail["type"] == "value_error":
        return f"{key}: {detail['msg'].removeprefix('Value error, ')}"
    expected = _expected(detail)
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
        case "model_type" | "model_attributes_type" | "dict_type":
            return "a section with keys of its own"
        case "string_pattern_mismatch":
            return "letters, digits, '.', '_' and '-', starting with a letter or digit"
    return detail["msg"].removeprefix("Input should be ").removeprefix("a valid ")


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
        inner = _section_in(field.annotation) if field else None
        if inner is None:
            return []
        section = inner
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section_in(inner))), None)
