"""Language codes, English names and usual scripts, as data (``languages.csv``)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from glotune.data.subtags import are_subtags
from glotune.errors import nearest


@dataclass(frozen=True)
class Language:
    """One language of the table."""

    code: str
    """ISO 639-1 where there is one, else ISO 639-3."""
    code3: str
    """ISO 639-3."""
    name: str
    scripts: tuple[str, ...]
    """Scripts it is usually written in, by their Unicode names, e.g. ``Bengali``; the usual one first."""


@cache
def languages() -> dict[str, Language]:
    """Every code (two and three letters) -> its language."""
    text = resources.files("glotune.data").joinpath("languages.csv").read_text(encoding="utf-8")
    table: dict[str, Language] = {}
    for code, code3, name, scripts in list(csv.reader(io.StringIO(text)))[1:]:
        table[code] = table[code3] = Language(code, code3, name, tuple(scripts.split()))
    return table


def is_language(code: str) -> bool:
    """Whether the table has `code`, alone or with a script or region behind it (``zh``, ``zh-TW``, ``sr_Latn``)."""
    return find_language(code) is not None


def find_language(code: str) -> Language | None:
    """The language of a code; region and script behind it are ignored; None where the table has it not."""
    head, *tail = code.replace("_", "-").split("-")
    return languages().get(head) if are_subtags(tail) else None


def language_name(code: str) -> str:
    """English name, e.g. ``language_name("bn") == "Bangla"``; the code itself where the table has it not."""
    language = find_language(code)
    return language.name if language else code


def language_scripts(code: str) -> tuple[str, ...]:
    """The scripts that the language is usually written in; empty where they are not known."""
    language = find_language(code)
    return language.scripts if language else ()


def nearest_language(code: str, known: Iterable[str]) -> str | None:
    """The one of `known` that means the same language (``ben`` and ``bn``, ``Bangla``), else the nearest spelling."""
    known = sorted(known)
    for candidate in known:
        language = find_language(candidate)
        if language and code.casefold() in {language.code, language.code3, language.name.casefold()}:
            return candidate
    return nearest(code, known)
