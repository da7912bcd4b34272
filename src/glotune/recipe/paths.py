"""Names of files and folders: where they lead, and how several stand in one KEY=VALUE.

A name that exists is taken as it is, whatever YAML, a home directory or the Hub would make of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from glotune.errors import did_you_mean
from glotune.recipe import yaml

PATH_KEYS = {
    "data": ("train", "validation", "test", "text", "pairs", "translations", "unlabelled", "augment"),
    "model": ("name",),
    "distill": ("teacher", "texts"),
    "teacher": ("name",),
    "average": ("runs",),
}
"""Section -> its keys that may name files or folders."""


def names_paths(parts: Sequence[str]) -> bool:
    """Whether a key, cut at its dots, may name files or folders: ``data.test``, ``data.test.bn``, ``model.name``."""
    return len(parts) > 1 and parts[1] in PATH_KEYS.get(parts[0], ())


def exists(path: str | Path) -> bool:
    """Whether something stands there; False too for what can't be the name of anything."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def place_of(name: str | Path) -> Path:
    """Where a name leads: to itself where that exists, else with a leading ``~`` for the home directory."""
    path = Path(name)
    if exists(path):
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # no such user: it is a name like any other
        return path


def is_folder(name: str | Path) -> bool:
    """Whether a name leads to a folder of this machine."""
    path = place_of(name)
    return exists(path) and path.is_dir()


def meant_beside(path: Path) -> str | None:
    """Which neighbour of what is not there may have been meant, as `did_you_mean` asks; None: none, or it is there."""
    if exists(path) or not path.parent.is_dir():
        return None
    return did_you_mean(path.name, [each.name for each in path.parent.iterdir()])


def literal_paths(text: str) -> Any:
    """The existing paths that a value names as it is written: one, a list ``[a, b]`` or a map ``{en: a, bn: [b, c]}``.

    Names may hold what means something in YAML (``#``, ``: ``, ``@``, brackets, commas) and may be quoted.

    Returns:
        a string, list or dictionary; None where something in it does not exist.
    """
    text = text.strip()
    if not text or exists(text):
        return text or None
    if text[0] == "[" and text[-1] == "]":
        return _items(text[1:-1], literal_paths)
    entries = _items(text[1:-1] if text[0] == "{" and text[-1] == "}" else text, _entry)
    if entries:
        return dict(entries)
    name = yaml.unquoted(text)
    return name if name and exists(name) else None


def _entry(text: str) -> tuple[str, Any] | None:
    """``en: a.csv`` as a pair."""
    key, _, rest = text.partition(": ")
    paths = literal_paths(rest)
    return (yaml.unquoted(key) or key.strip(), paths) if key.strip() and paths is not None else None


def _items(text: str, read: Callable[[str], Any]) -> list[Any] | None:
    """What stands between commas, each as `read` understands it; a comma may belong to a name."""
    pieces = text.split(",")
    after: dict[int, list[Any]] = {len(pieces): []}
    for start in reversed(range(len(pieces))):
        for end in range(start + 1, len(pieces) + 1):
            if end in after and (found := read(",".join(pieces[start:end]))) is not None:
                after[start] = [found, *after[end]]
                break
    return after.get(0)
