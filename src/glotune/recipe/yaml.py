"""YAML as its users mean it: ``2e-4`` is a number, ``no``, ``on`` and ``off`` are words, and a key is what it says.

PyYAML follows YAML 1.1, in which the language code ``no`` is false, ``2e-4`` a string and ``010`` eight. What can be
read as a number, a truth value or null keeps its characters (`Written`): the label ``00`` is not zero.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from glotune.errors import UserError
from glotune.recipe.values import Written


class _Loader(yaml.SafeLoader):
    """Safe loading with the scalars of YAML 1.2's core schema; keys are strings as written, none twice."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.deep_construct = True  # at once and not in turns: then what holds itself is refused

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            return super().construct_mapping(node, deep)  # refuses it
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                key = self.construct_object(key_node, deep=True)
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is not a plain word", node.start_mark
                )
            key = str(key_node.value)
            if key in content:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' stands twice", node.start_mark)
            content[key] = self.construct_object(value_node, deep=deep)
        return content


_TAGS = {name: f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "timestamp", "merge", "value")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == _TAGS["null"] or tag not in _TAGS.values()]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_PATTERNS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)",
        "-+0123456789.",
    ),
}
for _name, (_pattern, _first) in _PATTERNS.items():
    _Loader.add_implicit_resolver(_TAGS[_name], re.compile(f"^(?:{_pattern})$"), list(_first))

_READINGS: dict[str, Callable[[str], int | float | bool | None]] = {
    "null": lambda text: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": lambda text: int(text, 0 if text[:2] in ("0o", "0x") else 10),
    "float": float,
}


def _constructor(read: Callable[[str], int | float | bool | None]) -> Callable[[_Loader, yaml.ScalarNode], Written]:
    def construct(loader: _Loader, node: yaml.ScalarNode) -> Written:
        text = str(loader.construct_scalar(node))
        return Written(text, read(text))

    return construct


for _name, _read in _READINGS.items():
    _Loader.add_constructor(_TAGS[_name], _constructor(_read))


class _Dumper(yaml.SafeDumper):
    """Quotes every string that this module's reader, or a reader of YAML 1.1, would take for something else."""


_Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *_Loader.yaml_implicit_resolvers.get(first, [])]
    for first in {**yaml.SafeDumper.yaml_implicit_resolvers, **_Loader.yaml_implicit_resolvers}
}


def _as_written(dumper: yaml.SafeDumper, written: Written) -> yaml.ScalarNode:
    """The scalar's own characters, unquoted: it reads back as itself."""
    kind = {type(None): "null", bool: "bool", int: "int", float: "float"}[type(written.value)]
    return dumper.represent_scalar(_TAGS[kind], str(written))


_Dumper.add_representer(Written, _as_written)


def parse(text: str, where: str) -> Any:
    """Parses YAML text: strings, lists, mappings with strings for keys, and `Written` for every other scalar.

    Raises:
        UserError: it is no YAML; the message names the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(
            f"not valid YAML ({error.problem or error.context})",
            where=f"{where}{line}",
            remedy="Mend the line, or compare with: glotune recipes show quickstart",
        ) from error
    except (yaml.YAMLError, RecursionError, LookupError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"not valid YAML ({reason})", where=where) from error


def unquoted(text: str) -> str | None:
    """The string that a quoted scalar holds; None where `text` is none."""
    text = text.strip()
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0]:
        return None
    try:
        found = parse(text, "a quoted string")
    except UserError:
        return None
    return found if isinstance(found, str) else None


def read(path: Path) -> Any:
    """Reads a YAML file as UTF-8; raises UserError where it can't."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UserError(f"byte {error.start} is not UTF-8", where=str(path), expected="a UTF-8 text file") from error
    except OSError as error:
        raise UserError(f"the file can't be read ({error.strerror})", where=str(path)) from error


def dump(content: Any) -> str:
    """Writes plain data as YAML, keys in their order, scripts readable."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
