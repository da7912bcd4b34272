"""One run directory as typed data: what a report reads. Unfinished runs load too, with less in them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glotune.errors import UserError
from glotune.recipe import Recipe, yaml
from glotune.report.profile import DataProfile, parse_profile
from glotune.run.directory import RunDirectory
from glotune.run.history import History, read_history
from glotune.run.predictions import PredictionTable, read_predictions, split_and_language
from glotune.run.records import Evaluation, Interval, Manifest

SPLITS = ("train", "validation", "test")
_NO_SCORES = ("n", "intervals", "per_class", "confusion")


@dataclass(frozen=True, eq=False)
class RunData:
    """Everything that a run directory tells, and what it could not tell."""

    directory: RunDirectory
    manifest: Manifest
    recipe: Recipe | None
    """None where recipe.yaml is of another kind or version: then `recipe_yaml` is shown as it stands."""
    recipe_yaml: str
    history: History
    evaluations: dict[str, dict[str, Evaluation]]
    """split -> language -> scores of the best checkpoint, source languages first."""
    data: DataProfile = field(default_factory=DataProfile)
    problems: tuple[str, ...] = ()
    """Files that could not be read, each with its reason; the report shows them."""

    @property
    def name(self) -> str:
        """The run's name."""
        return self.manifest.name

    @cached_property
    def prediction_paths(self) -> dict[tuple[str, str], Path]:
        """(split, language) -> prediction table."""
        return {split_and_language(path): path for path in self.directory.prediction_files()}

    def predictions(self, split: str, language: str) -> PredictionTable | None:
        """The prediction table, read once; None where the run has none or it can't be read."""
        key = (split, language)
        if key not in self._tables:
            path = self.prediction_paths.get(key)
            try:
                self._tables[key] = read_predictions(path) if path else None
            except UserError:
                self._tables[key] = None
        return self._tables[key]

    @cached_property
    def memo(self) -> dict[str, Any]:
        """What was computed from this run once already, by name."""
        return {}

    @cached_property
    def _tables(self) -> dict[tuple[str, str], PredictionTable | None]:
        return {}

    @property
    def sources(self) -> list[str]:
        """Languages that the run trained on."""
        return self.manifest.source_languages

    def is_source(self, language: str) -> bool:
        """Whether the run trained on this language."""
        return language in self.manifest.source_languages

    @property
    def main_split(self) -> str | None:
        """The split that results are about: test where there is one, otherwise validation."""
        return next((split for split in ("test", "validation") if self.evaluations.get(split)), None)

    @property
    def main(self) -> dict[str, Evaluation]:
        """language -> scores on `main_split`; empty for a run that was not evaluated yet."""
        return self.evaluations[self.main_split] if self.main_split else {}


def load_run(run: RunDirectory | str | Path) -> RunData:
    """Loads a run directory, finished or not.

    Raises:
        UserError: it is no run directory, or its manifest can't be read.
    """
    directory = run if isinstance(run, RunDirectory) else RunDirectory.open(run)
    manifest = directory.read_manifest()
    problems: list[str] = []
    recipe, text = _read_recipe(directory, problems)
    history = read_history(directory.events())
    evaluations = _evaluations(directory, manifest, problems)
    profile = parse_profile(_read_json(directory.data_profile, problems))
    return RunData(directory, manifest, recipe, text, history, evaluations, profile, tuple(problems))


def _read_recipe(directory: RunDirectory, problems: list[str]) -> tuple[Recipe | None, str]:
    try:
        text = directory.recipe.read_text(encoding="utf-8")
        return Recipe.model_validate(yaml.parse(text, "recipe.yaml")), text
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"recipe.yaml can't be read ({error})")
        return None, ""
    except (ValueError, UserError) as error:
        problems.append(f"recipe.yaml is no recipe of this version ({str(error).splitlines()[0]})")
        return None, text


def _read_json(path: Path, problems: list[str]) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} can't be read ({error})")
        return {}
    return content if isinstance(content, dict) else {}


def _evaluations(directory: RunDirectory, manifest: Manifest, problems: list[str]) -> dict[str, dict[str, Evaluation]]:
    try:
        return parse_metrics(directory.read_metrics(), manifest.source_languages)
    except UserError as error:
        problems.append(str(error))
    except (ValueError, TypeError, AttributeError) as error:
        problems.append(f"metrics.json is not as glotune wrote it ({str(error).splitlines()[0]})")
    return {}


def parse_metrics(metrics: dict[str, Any], source_languages: list[str]) -> dict[str, dict[str, Evaluation]]:
    """``metrics.json`` as records: split -> language -> evaluation, source languages first.

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
            language: evaluation_of(split, language, entries[language])
            for language in order
            if isinstance(entries[language], dict)
        }
    return found


def evaluation_of(split: str, language: str, entry: dict[str, Any]) -> Evaluation:
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
