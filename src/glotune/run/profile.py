"""What ``data_profile.json`` tells a report: why languages differ, and which test texts were seen in training."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

LEAKED, LEAKED_FILES = b'"leaked"', b'"leaked_files"'


@dataclass(frozen=True)
class LanguageProfile:
    """One split of one language; None where the profile does not tell."""

    rows: int | None = None
    label_counts: dict[str, int] = field(default_factory=dict)
    mean_tokens: float | None = None
    fertility: float | None = None
    """Tokens per blank-separated word: high where the tokenizer knows a language badly."""
    unknown_token_rate: float | None = None
    truncation_rate: float | None = None
    duplicate_rows: int | None = None
    conflicting_rows: int | None = None


@dataclass(frozen=True)
class DataProfile:
    """The parts of a profile that a report shows; empty for a run that wrote none yet."""

    splits: dict[str, dict[str, LanguageProfile]] = field(default_factory=dict)
    leaked: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """split -> language -> source rows whose text stands in an earlier split too."""
    warnings: tuple[str, ...] = ()
    skipped: int = 0
    max_length: int | None = None
    translated_words: dict[str, float] = field(default_factory=dict)
    """Source language -> share of the words of its training texts that the run's dictionary knows."""

    def of(self, split: str, language: str) -> LanguageProfile:
        """The profile of one split and language, empty where it is unknown."""
        return self.splits.get(split, {}).get(language, LanguageProfile())


def parse_profile(content: dict[str, Any]) -> DataProfile:
    """Reads the content of ``data_profile.json``; what is missing or of another form stays empty."""
    splits = {
        split: {language: _language(entry) for language, entry in languages.items()}
        for split, languages in _mapping(content.get("splits")).items()
        if isinstance(languages, dict)
    }
    return DataProfile(
        splits,
        _leaked(content.get("leaked")),
        tuple(str(line) for line in _list(content.get("warnings"))),
        _count(_mapping(content.get("skipped")).get("count")) or 0,
        _count(content.get("max_length")),
        {
            language: share
            for language, each in _mapping(content.get("translated_words")).items()
            if (share := _number(each)) is not None
        },
    )


def read_leaked(written: bytes) -> dict[str, dict[str, list[int]]]:
    """What ``data_profile.json`` says of leaked rows, from its bytes; the rest is not parsed."""
    return _leaked(_value_of(LEAKED, written))


def read_leaked_files(written: bytes) -> dict[str, dict[str, list[str]]]:
    """The same of the SHA-256 of their files: of languages with several, and of none in older profiles."""
    return {
        split: {language: [str(name) for name in _list(names)] for language, names in _mapping(languages).items()}
        for split, languages in _mapping(_value_of(LEAKED_FILES, written)).items()
    }


def _value_of(key: bytes, written: bytes) -> Any:
    """What stands behind a key of JSON; None where it doesn't, or can't be read."""
    start = written.find(key)
    if start < 0:
        return None
    try:
        return json.JSONDecoder().raw_decode(written[start + len(key) :].decode().lstrip(" :\n\r\t"))[0]
    except ValueError:
        return None


def _leaked(content: Any) -> dict[str, dict[str, list[int]]]:
    return {
        split: {language: _rows(rows) for language, rows in _mapping(languages).items()}
        for split, languages in _mapping(content).items()
    }


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _rows(value: Any) -> list[int]:
    return [row for row in _list(value) if isinstance(row, int)]


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if fits else None


def _language(entry: Any) -> LanguageProfile:
    known = _mapping(entry)
    return LanguageProfile(
        rows=_count(known.get("rows")),
        label_counts={
            label: count for label, count in _mapping(known.get("label_counts")).items() if _count(count) is not None
        },
        mean_tokens=_number(_mapping(known.get("tokens")).get("mean")),
        fertility=_number(known.get("fertility")),
        unknown_token_rate=_number(known.get("unknown_token_rate")),
        truncation_rate=_number(known.get("truncation_rate")),
        duplicate_rows=_count(known.get("duplicate_rows")),
        conflicting_rows=_count(known.get("conflicting_rows")),
    )
