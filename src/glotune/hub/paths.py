"""What gets published names no folder of the machine that it was made on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from glotune.recipe import yaml
from glotune.recipe.data_keys import Source, Sources
from glotune.recipe.paths import PATH_KEYS

_FRONT = re.compile(r"""(\s*[\[{]?\s*(?:[\w-]+:\s+)?\[?\s*['"]?)(.*)""", re.DOTALL)


def public_path(path: str) -> str:
    """The last part of an absolute or upward path; what is relative or a Hub name stays."""
    pure = PurePosixPath(path)
    return pure.name if pure.is_absolute() or path.startswith(("~", "..")) else path


def public_command(command: Sequence[str]) -> str:
    """A command line with every path in it, alone or after ``key=``, made public."""
    return shlex.join(_public_word(word) for word in command)


def _public_word(word: str) -> str:
    key, sign, value = word.partition("=")
    if not sign:
        return public_path(word)
    return f"{key}={','.join(_public_part(part) for part in value.split(','))}"


def _public_part(part: str) -> str:
    """One of several paths in a list or map, with what stands in front of it there."""
    front, path = _FRONT.fullmatch(part).groups()  # type: ignore[union-attr]  # every string matches
    return f"{front}{public_path(path)}"


def public_recipe(text: str) -> str:
    """A recipe with the paths of its data and encoder made public."""
    content = yaml.parse(text, "recipe.yaml")
    for name, keys in PATH_KEYS.items():
        section = content.get(name)
        if isinstance(section, dict):
            content[name] = {key: _public(value) if key in keys else value for key, value in section.items()}
    return yaml.dump(content)


def _public(value: Any) -> Any:
    if isinstance(value, str):
        return public_path(value)
    if isinstance(value, list):
        return [_public(item) for item in value]
    return {key: _public(item) for key, item in value.items()} if isinstance(value, dict) else value


def sources_of(sources: Sources | None, language: str) -> list[str]:
    """What the recipe reads a language from, made public; everything where it doesn't say."""
    chosen: Source
    if isinstance(sources, dict):
        chosen = (
            sources[language] if language in sources else [name for each in sources.values() for name in _list(each)]
        )
    else:
        chosen = sources or []
    return [public_path(name) for name in _list(chosen)]


def _list(source: Source) -> list[str]:
    return [source] if isinstance(source, str) else source
