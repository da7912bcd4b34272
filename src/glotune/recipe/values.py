"""What a scalar means where it stands: where the schema wants a string, the characters that it was written with.

``00``, ``1.10``, ``True`` and ``12e4567`` are labels, revisions and column names as well as numbers; only the schema
knows which. YAML's reader keeps both readings (`Written`), and the sections of a recipe choose here.
"""

from __future__ import annotations

import os
from numbers import Integral, Number
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin


class Written(str):
    """A plain YAML scalar that can be read as a number, a truth value or null: its characters, and that `value`."""

    value: int | float | bool | None

    def __new__(cls, text: str, value: int | float | bool | None) -> Written:
        """A string of these characters."""
        written = super().__new__(cls, text)
        written.value = value
        return written


def plain(content: Any) -> Any:
    """Content without a schema: every scalar as YAML reads it."""
    if isinstance(content, Written):
        return content.value
    if isinstance(content, list):
        return [plain(item) for item in content]
    return {key: plain(item) for key, item in content.items()} if isinstance(content, dict) else content


def settled(value: Any, annotation: Any, *, inside: bool = False) -> Any:
    """`value` as the schema's `annotation` wants it; what does not fit is left for the schema to refuse.

    A number from Python becomes a string among several (labels, keys of a mapping) or where it is an integer; a single
    float does not, since 1.10 has become 1.1 before it gets here.

    Args:
        value: from YAML or Python.
        annotation: the type of a field; sections inside it settle their own fields.
        inside: whether the value is one of a list or mapping.
    """
    kinds = alternatives(annotation)
    if isinstance(value, dict | list | tuple):
        return _settled_items(value, kinds)
    if isinstance(value, Written):
        return _settled_scalar(value, kinds)
    if not wants_text(annotation):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    is_text = isinstance(value, Number) if inside else isinstance(value, Integral) and not isinstance(value, bool)
    return str(value) if is_text else value


def _settled_items(value: Any, kinds: tuple[Any, ...]) -> Any:
    wanted = (dict,) if isinstance(value, dict) else (list, tuple)
    inner = next((get_args(kind) for kind in kinds if get_origin(kind) in wanted), ())
    if not inner:
        return value
    if isinstance(value, dict):
        return {
            str(key) if isinstance(key, Number) else key: settled(item, inner[1], inside=True)
            for key, item in value.items()
        }
    return [settled(item, inner[0], inside=True) for item in value]


def _settled_scalar(written: Written, kinds: tuple[Any, ...]) -> Any:
    if Any in kinds:
        return written  # the keys of a study: they are settled once they stand in a recipe
    if written.value is None and (type(None) in kinds or not written):
        return None
    return str(written) if any(map(wants_text, kinds)) else written.value


def wants_text(annotation: Any) -> bool:
    """Whether a free string may stand here, alone or as an item of a list or a mapping's value."""
    return any(
        kind is str
        or (get_origin(kind) in (list, tuple) and any(map(wants_text, get_args(kind))))
        or (get_origin(kind) is dict and wants_text(get_args(kind)[1]))
        for kind in alternatives(annotation)
    )


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, in it the members of unions; of anything else itself; what annotates it left out."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return alternatives(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return tuple(member for inner in get_args(annotation) for member in alternatives(inner))
    return (annotation,)
