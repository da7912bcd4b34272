"""YAML as its users mean it: ``2e-4`` is a number, and ``no``, ``on`` and ``off`` are words.

PyYAML follows YAML 1.1, in which the language code ``no`` is false and ``2e-4`` a string.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from glotune.errors import UserError


class _Loader(yaml.SafeLoader):
    """Safe loading with the scalars of YAML 1.2's core schema, duplicate keys refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if not isinstance(key, str | int | float | bool):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is not a plain word", node.start_mark
                )
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{twice[0]}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag
        not in (
            "tag:yaml.org,2002:bool",
            "tag:yaml.org,2002:float",
            "tag:yaml.org,2002:timestamp",
            "tag:yaml.org,2002:merge",
        )
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"),
    list("-+0123456789."),
)


class _Dumper(yaml.SafeDumper):
    """Quotes every string that this module's reader, or a reader of YAML 1.1, would take for something else."""


_Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *_Loader.yaml_implicit_resolvers.get(first, [])]
    for first in {**yaml.SafeDumper.yaml_implicit_resolvers, **_Loader.yaml_implicit_resolvers}
}


def parse(text: str, where: str) -> Any:
    """Parses YAML text.

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
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"not valid YAML ({reason})", where=where) from error


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
