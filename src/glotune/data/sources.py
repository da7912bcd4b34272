"""From what a recipe names (a file, a list, a folder, a Hub data set, {language: any of these}) to single sources."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glotune.data.file_names import Said, language_of, said_by, split_meant, stem_of
from glotune.data.opening import is_stream, reading
from glotune.errors import UserError, did_you_mean
from glotune.recipe.data_keys import Sources
from glotune.recipe.paths import place_of
from glotune.recipe.schema import SplitNames

Kind = Literal["csv", "tsv", "jsonl", "parquet", "hub"]
KindOrLines = Kind | Literal["lines"]
"""``lines``: a text a line."""

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
_OTHER_FILES = (".txt", ".text", ".xls", ".xlsx", ".ods", ".arrow", ".gz", ".zip", ".bz2", ".xz")
"""Endings of what is no data set of the Hub, so that nobody asks it for one."""
_PLAIN_FOLDERS = ("data", "default")
"""Folders of a data set that say nothing: the Hub's own."""
_ABOUT_THE_DATA = (
    "dataset_infos.json",
    "dataset_info.json",
    "dataset_dict.json",
    "state.json",
    "readme.txt",
    "license.txt",
    "licence.txt",
)
"""What `datasets`, the Hub and people lay beside the data; in lower case."""
_DEPTH = 3
"""Folders in each other, at most, in a data set: ``data/en/test``."""
FORMATS = "a .csv, .tsv, .jsonl (each also with .gz) or .parquet file"
FORMATS_WITH_LINES = FORMATS.replace(".jsonl", ".jsonl, .txt")


@dataclass(frozen=True)
class Source:
    """One file or Hub data set, as one key of the recipe names it."""

    name: str
    """As the recipe says it, or folder and file."""
    kind: KindOrLines | Literal["stream"]
    """``stream``: a pipe without an ending, whose content says the format."""
    key: str
    """The recipe key that names it, for messages."""
    language: str | None
    """The language that the recipe gives it; None: see the file."""
    named_language: str | None = None
    """The language that the file's name says, or that of its folder in a data set."""
    split: str | None = None
    """What the name of a file in a folder says: a name of ``data.split_names``, or another that none of them has."""

    @property
    def trains(self) -> bool:
        """Whether its key names training rows."""
        return self.key.split(".")[:2] == ["data", "train"]

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return place_of(self.name)


def find_sources(
    named: Sources,
    key: str,
    split_names: SplitNames | None = None,
    on_note: Callable[[str], None] | None = None,
    *,
    lines: bool = False,
) -> list[Source]:
    """All single sources, in the order named, folders sorted by name; none twice.

    A file that the recipe names counts as the key says. The files of a folder count as the split that their names say
    (``train.csv``, ``test-00000-of-00001.parquet``), where they say any.

    Args:
        split_names: the recipe's; None: the usual ones.
        on_note: called with what a reader of the log should know of how names were understood.
        lines: plain text files count too: what is read has no labels.

    Raises:
        UserError: a path does not exist, is of an unknown format, or nothing is named at all; a folder whose splits
            or languages can't be told apart.
    """
    find = _Finder(split_names or SplitNames(), on_note or (lambda message: None), lines)
    found: list[Source] = []
    if isinstance(named, dict):
        for language, inner in named.items():
            found += find.each(inner, f"{key}.{language}", language)
    else:
        found += find.each(named, key, None)
    if not found:
        raise UserError(f"{key} names no data", expected=f"{find.formats}, a folder or a Hub data set")
    once: dict[tuple[str, str | None], Source] = {}
    for source in found:
        once.setdefault((source.name, source.language), source)
    return list(once.values())


@dataclass(frozen=True)
class _Finder:
    split_names: SplitNames
    note: Callable[[str], None]
    lines: bool
    """Whether plain text files are data."""

    @property
    def formats(self) -> str:
        """For messages."""
        return FORMATS_WITH_LINES if self.lines else FORMATS

    def kind_of(self, path: Path) -> KindOrLines | None:
        """As the function of this name, lines among the kinds where they are data."""
        return "lines" if self.lines and is_line_file(path.name) else kind_of(path)

    def each(self, named: str | list[str], key: str, language: str | None) -> list[Source]:
        names = [named] if isinstance(named, str) else named
        return [source for name in names for source in self._resolve(name, key, language)]

    def _resolve(self, name: str, key: str, language: str | None) -> list[Source]:
        path = place_of(name)
        try:
            path.exists()
        except OSError as error:
            raise UserError(f"{name} can't be opened ({error.strerror})", where=key, expected=self.formats) from error
        if path.is_dir():
            return self._in_folder(name, path, key, language)
        kind = self.kind_of(path)
        is_file = path.exists() or kind or path.suffix.lower() in _OTHER_FILES
        if is_file or not _HUB_NAME.fullmatch(name):
            return [self._file(name, path, kind, key, language)]
        return [Source(name, "hub", key, language)]

    def _file(self, name: str, path: Path, kind: KindOrLines | None, key: str, language: str | None) -> Source:
        if not path.exists():
            raise self._absent(name, path, key)
        if is_stream(path):
            self.note(read_once(name, key))
            return Source(name, kind or "stream", key, language, language_of(path.name))
        if kind is None:
            raise UserError(f"{name} has an unknown format", where=key, expected=self.formats)
        said = said_by(stem_of(path.name), self.split_names)
        means = {split_meant(word, self.split_names) or word for word in said.splits}
        if means and key.split(".")[1] in ("train", "validation") and means != {key.split(".")[1]}:
            self.note(f"{name} is read as {key}, which names it, though its name says '{said.splits[0]}'")
        return Source(name, kind, key, language, said.language)

    def _absent(self, name: str, path: Path, key: str) -> UserError:
        siblings: list[str] = []
        if path.parent.is_dir():
            siblings = [file.name for file in path.parent.iterdir() if self.kind_of(file)]
        guess = did_you_mean(path.name, siblings)
        place = "" if path.parent.is_dir() else f" (nor is there a folder {path.parent})"
        return UserError(
            f"there is no file {name}{place}",
            where=key,
            expected="an existing file or folder",
            remedy=guess or "Check the path; it counts from the directory that you are in",
        )

    def _in_folder(self, name: str, folder: Path, key: str, language: str | None) -> list[Source]:
        found = self._walk(folder, folder, Said())
        if not found:
            inner = sorted(entry.name for entry in folder.iterdir() if self._holds_data(entry))
            raise UserError(
                f"the folder {name} holds no data file",
                where=key,
                expected=f"at least one: {self.formats}",
                remedy=f"Name a folder in it: {', '.join(inner[:10])}" if inner else None,
            )
        _refuse_missing_shards(name, key, found)
        if language is not None:
            _refuse_other_languages(name, key, found)
        splits = self._splits(name, key, found)
        if any(splits):
            self.note(_about_splits(name, found, splits, self.split_names))
        return [
            Source(str(Path(name) / file.place), file.kind, key, language, file.said.language, split)
            for file, split in zip(found, splits, strict=True)
        ]

    def _walk(self, top: Path, folder: Path, above: Said) -> list[_Found]:
        """The data files of a folder, then of those folders in it whose names say that they belong to the data set."""
        with reading(folder, str(folder)):
            entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        found = [
            _Found(str(entry.relative_to(top)), kind, above.under(said_by(stem_of(entry.name), self.split_names)))
            for entry in entries
            if entry.is_file() and entry.name.lower() not in _ABOUT_THE_DATA and (kind := self.kind_of(entry))
        ]
        for entry in entries:
            if entry.is_dir():
                said = said_by(entry.name, self.split_names)
                deep = len(entry.relative_to(top).parts) > _DEPTH
                if (said.splits or said.language or entry.name in _PLAIN_FOLDERS) and not deep:
                    found += self._walk(top, entry, above.under(said))
                elif self._holds_data(entry):
                    self.note(f"the folder {entry} is not read: its name is no language, split or 'data'")
        return found

    def _holds_data(self, folder: Path) -> bool:
        return any(self.kind_of(path) for path in folder.glob("*"))

    def _splits(self, name: str, key: str, found: list[_Found]) -> list[str | None]:
        """The split word of each file; all None where no name says one.

        Raises:
            UserError: some names say a split and others none, or one says two, or a word has two meanings.
        """
        meant = [{split_meant(word, self.split_names) for word in file.said.splits} for file in found]
        for file, means in zip(found, meant, strict=True):
            if len(means) > 1:
                raise _untold(name, key, f"{file.place} says {' and '.join(file.said.splits)}")
            if means == {None}:
                word = file.said.splits[0]
                raise _untold(
                    name,
                    key,
                    f"{file.place} says '{word}', which may be validation or test",
                    f"Say which: data.split_names.validation={word} or data.split_names.test={word}",
                )
        if not any(meant):
            return [None] * len(found)
        words = [file.said.splits[0] if file.said.splits else file.only_split for file in found]
        if None in words:
            saying = next(file.place for file in found if file.said.splits)
            raise _untold(name, key, f"{saying} says its split, {found[words.index(None)].place} says none")
        return words


@dataclass(frozen=True)
class _Found:
    """A data file in a folder."""

    place: str
    """Relative to the folder."""
    kind: KindOrLines
    said: Said
    """By its name and the names of the folders between."""

    @property
    def only_split(self) -> str | None:
        """What a shard is called that says nothing else: a split as the Hub cuts them, such as ``unsupervised``."""
        return self.said.shards[0] if self.said.shards and self.said.language is None else None


def read_once(name: str, key: str) -> str:
    """A notice about texts that come from a pipe."""
    return f"{key} is read from a pipe ({name}): only from a file can a run be resumed or reproduced"


def is_line_file(name: str) -> bool:
    """Whether the name is that of a plain text file."""
    return name.lower().endswith((".txt", ".txt.gz"))


def kind_of(path: Path) -> Kind | None:
    """The format that the name's ending says; None where it says none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] == ".gz"
    last = suffixes[-2 if packed else -1] if len(suffixes) > packed else ""
    kind = SUFFIXES.get(last)
    return None if packed and kind not in _TEXT_KINDS else kind


def _about_splits(name: str, found: list[_Found], words: list[str | None], names: SplitNames) -> str:
    places: dict[str, list[str]] = {}
    for file, word in zip(found, words, strict=True):
        if word is not None:
            places.setdefault(split_meant(word, names) or f"'{word}'", []).append(file.place)
    each = [f"{split} ({_first(files)})" for split, files in places.items()]
    return f"{name} is split by the names in it: {', '.join(each)}"


def _first(places: list[str]) -> str:
    return places[0] + (f" and {len(places) - 1} more" if len(places) > 1 else "")


def _untold(name: str, key: str, found: str, remedy: str | None = None) -> UserError:
    return UserError(
        f"which files of {name} belong to which split can't be told: {found}",
        where=key,
        expected="a split in each file's name (train.csv, en_dev.csv, test-00000-of-00001.parquet), or in none",
        remedy=remedy or "Name the files one by one under data.train, data.validation and data.test",
    )


def _refuse_missing_shards(name: str, key: str, found: list[_Found]) -> None:
    """A file cut into parts of which some are missing would be read in part."""
    parts = Counter((Path(file.place).parent, *file.said.shards) for file in found if file.said.shards)
    for (parent, shared, count), there in parts.items():
        if there != count:
            raise UserError(
                f"{name} holds {there} of the {count} parts of {parent / shared}",
                where=key,
                expected=f"all of them, from -00000-of-{count:05} on",
                remedy="Download the rest, or name the files that you mean",
            )


def _refuse_other_languages(name: str, key: str, found: list[_Found]) -> None:
    """A key gives one language to a folder whose files say several."""
    said = {file.said.language: file.place for file in found if file.said.language}
    if len(said) > 1:
        language = key.split(".")[-1]
        place = said.get(language, next(iter(said.values())))
        inner = Path(place).parent if Path(place).parent.name == language else Path(place)
        raise UserError(
            f"the names in {name} say several languages: {', '.join(sorted(said)[:20])}",
            where=key,
            expected=f"texts in '{language}' alone",
            remedy=f"Name one of them, e.g. {Path(name) / inner}, or the folder without a language",
        )
