"""What ``data_profile.json`` tells a report: why languages differ, and which test texts were seen in training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
    leaked = {
        split: {language: [int(row) for row in rows] for language, rows in _mapping(languages).items()}
        for split, languages in _mapping(content.get("leaked")).items()
    }
    return DataProfile(
        splits,
        leaked,
        tuple(map(str, content.get("warnings") or ())),
        int(_mapping(content.get("skipped")).get("count") or 0),
        content.get("max_length"),
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _language(entry: Any) -> LanguageProfile:
    known = _mapping(entry)
    return LanguageProfile(
        rows=known.get("rows"),
        label_counts=_mapping(known.get("label_counts")),
        mean_tokens=_mapping(known.get("tokens")).get("mean"),
        fertility=known.get("fertility"),
        unknown_token_rate=known.get("unknown_token_rate"),
        truncation_rate=known.get("truncation_rate"),
        duplicate_rows=known.get("duplicate_rows"),
        conflicting_rows=known.get("conflicting_rows"),
    )
