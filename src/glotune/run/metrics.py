"""``metrics.json`` as records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from glotune.errors import UserError
from glotune.run.records import Evaluation, Interval

SPLITS = ("train", "validation", "test")
_NO_SCORES = ("n", "intervals", "per_class", "confusion")


def averaged(languages: Iterable[str], sources: Sequence[str]) -> list[str]:
    """The languages that a mean is about: those that were not trained on; all where there is none."""
    known = list(languages)
    return [language for language in known if language not in sources] or known


def mean_name(languages: Sequence[str], sources: Sequence[str]) -> str:
    """What a mean is over: ``16 target languages``, ``3 source languages``."""
    return f"{len(languages)} {'source' if set(languages) <= set(sources) else 'target'} languages"


def parse_metrics(metrics: dict[str, Any], source_languages: list[str]) -> dict[str, dict[str, Evaluation]]:
    """Split -> language -> evaluation, source languages first.

    Raises:
        UserError: an entry is no evaluation.
    """
    try:
        return _parsed(metrics, source_languages)
    except (ValueError, TypeError, AttributeError) as error:
        reason = _reason(error)
        raise UserError(f"metrics.json can't be read as scores ({reason})", expected="what glotune wrote") from error


def _reason(error: Exception) -> str:
    """One line; of a record's every field that is wrong."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _parsed(metrics: dict[str, Any], source_languages: list[str]) -> dict[str, dict[str, Evaluation]]:
    found: dict[str, dict[str, Evaluation]] = {}
    for split in SPLITS:
        entries = metrics.get(split)
        if not isinstance(entries, dict):
            continue
        order = sorted(entries, key=lambda language: (language not in source_languages, language))
        found[split] = {
            language: read_evaluation(split, language, entries[language])
            for language in order
            if isinstance(entries[language], dict)
        }
    return found


def read_evaluation(split: str, language: str, entry: dict[str, Any]) -> Evaluation:
    """One entry of ``metrics.json`` as a record."""
    scores = {
        name: None if value is None else float(value)
        for name, value in entry.items()
        if name not in _NO_SCORES and (value is None or isinstance(value, int | float))
    }
    intervals = {name: Interval.model_validate(value) for name, value in (entry.get("intervals") or {}).items()}
    return Evaluation(
        split=split,
        language=language,
        n=int(entry.get("n") or 0),
        scores=scores,
        intervals=intervals,
        per_class=entry.get("per_class") or {},
        confusion=entry.get("confusion") or [],
    )
