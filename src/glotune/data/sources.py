"""From what a recipe names (a file, a list, a folder, a Hub data set, {language: any of these}) to single sources."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glotune.errors import UserError, did_you_mean
from glotune.recipe.schema import Sources

Kind = Literal["csv", "tsv", "jsonl", "parquet", "hub"]

SUFFIXES: dict[str, Kind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
_TEXT_KINDS = ("csv", "tsv", "jsonl")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(:[\w.+-]+)?")
FORMATS = "a .csv, .tsv, .jsonl (each also with .gz) or .parquet file"


@dataclass(frozen=True)
class Source:
    """One file or Hub data set, as one key of the recipe names it."""

    name: str
    """As the recipe says it, or folder and file."""
    kind: Kind
    key: str
    """The recipe key that names it, for messages."""
    language: str | None
    """The language that the recipe gives it; None: see the file."""

    @property
    def trains(self) -> bool:
        """Whether its key names training rows."""
        return self.key.split(".")[:2] == ["data", "train"]

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return Path(self.name).expanduser()

    @property
    def stem(self) -> str:
        """The file's name up to the first dot."""
        return self.path.name.split(".")[0]


def find_sources(named: Sources, key: str) -> list[Source]:
    """All single sources, in the order named, folders sorted by name; none twice.

    Raises:
        UserError: a path does not exist, is of an unknown format, or nothing is named at all.
    """
    found: list[Source] = []
    if isinstance(named, dict):
        for language, source in named.items():
            found += _each(source, f"{key}.{language}", language)
    else:
        found += _each(named, key, None)
    if not found:
        raise UserError(f"{key} names no data", expected=f"{FORMATS}, a folder or a Hub data set")
    return list(dict.fromkeys(found))


def _each(named: str | list[str], key: str, language: str | None) -> list[Source]:
    names = [named] if isinstance(named, str) else named
    return [source for name in names for source in _resolve(name, key, language)]


def _resolve(name: str, key: str, language: str | None) -> list[Source]:
    path = Path(name).expanduser()
    if path.is_dir():
        return _in_folder(name, path, key, language)
    kind = kind_of(path)
    if path.exists() or kind or not _HUB_NAME.fullmatch(name):
        if not path.exists():
            raise _absent(name, path, key)
        if kind is None:
            raise UserError(f"{name} has an unknown format", where=key, expected=FORMATS)
        return [Source(name, kind, key, language)]
    return [Source(name, "hub", key, language)]


def kind_of(path: Path) -> Kind | None:
    """The format that the name's ending says; None where it says none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] == ".gz"
    last = suffixes[-2 if packed else -1] if len(suffixes) > packed else ""
    kind = SUFFIXES.get(last)
    return None if packed and kind not in _TEXT_KINDS else kind


def _in_folder(name: str, folder: Path, key: str, language: str | None) -> list[Source]:
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    found = [(file, kind) for file in files if (kind := kind_of(file))]
    if not found:
        raise UserError(f"the folder {name} holds no data file", where=key, expected=f"at least one: {FORMATS}")
    return [Source(str(Path(name) / file.name), kind, key, language) for file, kind in found]


def _absent(name: str, path: Path, key: str) -> UserError:
    siblings: list[str] = []
    if path.parent.is_dir():
        siblings = [file.name for file in path.parent.iterdir() if kind_of(file)]
    guess = did_you_mean(path.name, siblings)
    place = "" if path.parent.is_dir() else f" (nor is there a folder {path.parent})"
    return UserError(
        f"there is no file {name}{place}",
        where=key,
        expected="an existing file or folder",
        remedy=guess or "Check the path; it counts from the directory that you are in",
    )
