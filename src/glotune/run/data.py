"""One run directory as typed data, read as it is asked for. Unfinished runs load too, with less in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glotune.errors import UserError
from glotune.recipe import Recipe, yaml
from glotune.recipe.keys import Value, flat_keys, variant_key
from glotune.run.directory import RunDirectory
from glotune.run.history import History, read_history, read_last
from glotune.run.metrics import parse_metrics
from glotune.run.predictions import Predictions, fingerprint, numbered_alike, read_predictions, split_and_language
from glotune.run.profile import DataProfile, parse_profile
from glotune.run.records import Evaluation, Manifest, Verdict

if TYPE_CHECKING:
    from glotune.stats.arrays import Outcomes
    from glotune.stats.clusters import Clusters


@dataclass(frozen=True, eq=False)
class RunData:
    """Everything that a run directory holds, and what could not be read of it.

    Only the manifest is read at once: a thousand runs are listed without their events and predictions being opened.
    Scores are raw: shares in 0 .. 1, losses in nats per text.
    """

    directory: RunDirectory
    manifest: Manifest
    variant_name: str | None = None
    """What a study calls the variant that this is a run of; None: runs of one recipe are one variant."""

    # ---- what it is -----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The run's name."""
        return self.manifest.name

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def verdict(self) -> Verdict | None:
        """What may be believed about the run; None before its end."""
        return self.manifest.verdict

    @property
    def is_sound(self) -> bool:
        """Whether a comparison with this run means something."""
        return self.verdict is not None and self.verdict.is_sound

    @property
    def sources(self) -> list[str]:
        """Languages that the run trained on."""
        return self.manifest.source_languages

    def is_source(self, language: str) -> bool:
        """Whether the run trained on this language."""
        return language in self.manifest.source_languages

    # ---- recipe ---------------------------------------------------------------------------------------

    @property
    def recipe(self) -> Recipe | None:
        """None where recipe.yaml is of another kind or version: then `recipe_yaml` is shown as it stands."""
        return self._recipe[0]

    @property
    def recipe_yaml(self) -> str:
        """recipe.yaml as it stands; empty where it can't be read."""
        return self._recipe_file[0]

    @cached_property
    def keys(self) -> dict[str, Value]:
        """The recipe as flat keys."""
        return flat_keys(self.recipe_yaml)

    @cached_property
    def variant(self) -> str:
        """Equal for runs that differ in their seed alone."""
        return self.variant_name or variant_key(self.recipe_yaml)

    # ---- training -------------------------------------------------------------------------------------

    @cached_property
    def history(self) -> History:
        """All events that count."""
        return read_history(self.directory.events())

    @cached_property
    def last(self) -> History:
        """The end of training alone, from the end of the event file: see `read_last`."""
        return read_last(self.directory.events_path)

    # ---- scores ---------------------------------------------------------------------------------------

    @property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json``: split -> language -> entry; empty where it can't be read."""
        return self._metrics[0]

    @property
    def evaluations(self) -> dict[str, dict[str, Evaluation]]:
        """split -> language -> scores of the best checkpoint, source languages first."""
        return self._evaluations[0]

    @property
    def main_split(self) -> str | None:
        """The split that results are about: test where there is one, otherwise validation."""
        return next((split for split in ("test", "validation") if self.evaluations.get(split)), None)

    @property
    def main(self) -> dict[str, Evaluation]:
        """language -> scores on `main_split`; empty for a run that was not evaluated yet."""
        return self.evaluations[self.main_split] if self.main_split else {}

    def languages(self, split: str) -> list[str]:
        """Languages with scores on a split."""
        return list(self._entries(split))

    def score(self, split: str, metric: str, languages: list[str]) -> float | None:
        """The plain mean of a metric over languages; None where one of them has none."""
        values = [self._entries(split).get(language, {}).get(metric) for language in languages]
        known = [float(value) for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None

    def texts(self, split: str, languages: list[str]) -> int:
        """How many texts the scores stand on."""
        return sum(int(self._entries(split).get(language, {}).get("n") or 0) for language in languages)

    def _entries(self, split: str) -> dict[str, dict[str, Any]]:
        entries = self.metrics.get(split)
        return entries if isinstance(entries, dict) else {}

    # ---- predictions ----------------------------------------------------------------------------------

    @cached_property
    def prediction_paths(self) -> dict[tuple[str, str], Path]:
        """(split, language) -> file of predictions."""
        return {split_and_language(path): path for path in self.directory.prediction_files()}

    def predictions(self, split: str, language: str) -> Predictions | None:
        """The predictions, read once; None where the run has none or they can't be read."""
        key = ("predictions", split, language)
        if key not in self.memo:
            path = self.prediction_paths.get((split, language))
            try:
                self.memo[key] = read_predictions(path) if path else None
            except UserError:
                self.memo[key] = None
        found: Predictions | None = self.memo[key]
        return found

    def outcomes(self, split: str, language: str) -> Outcomes:
        """The predictions of one split and language, by source file and row.

        Raises:
            UserError: the run recorded none, or they can't be read.
        """
        key = ("outcomes", split, language)
        if key not in self.memo:
            path = self.prediction_paths.get((split, language))
            if path is None:
                raise UserError(
                    f"{self.path} holds no predictions for {split}/{language}",
                    remedy="Write them with: glotune evaluate",
                )
            self.memo[key] = (self.predictions(split, language) or read_predictions(path)).in_order
        found: Outcomes = self.memo[key]
        return found

    def answered(self, split: str, languages: list[str]) -> dict[str, Outcomes]:
        """`outcomes` of several languages, their texts that belong together numbered alike.

        Raises:
            UserError: as `outcomes`.
        """
        for language in languages:
            self.outcomes(split, language)  # says what is missing
        tables = {language: self.predictions(split, language) for language in languages}
        return numbered_alike({language: table for language, table in tables.items() if table is not None})

    def clusters(self, split: str, languages: list[str]) -> Clusters:
        """Which texts of a split belong together, within and across these languages."""
        from glotune.stats.clusters import find_clusters

        key = ("clusters", split, *languages)
        if key not in self.memo:
            tables = {language: self.predictions(split, language) for language in languages}
            self.memo[key] = find_clusters({name: table.keys for name, table in tables.items() if table is not None})
        found: Clusters = self.memo[key]
        return found

    def stands_on_same_texts(self, other: RunData, split: str, languages: list[str]) -> bool:
        """Whether the scores of two runs are about the same texts with the same labels.

        They are where every prediction is keyed by the same file and row, or else where all texts are kept and equal
        (the same texts in another file).
        """
        mine, others = self._fingerprint(split, languages), other._fingerprint(split, languages)
        return mine[0] == others[0] or (mine[1] is not None and mine[1] == others[1])

    def _fingerprint(self, split: str, languages: list[str]) -> tuple[str, str | None]:
        key = ("fingerprint", split, *languages)
        if key not in self.memo:
            self.memo[key] = fingerprint(self.directory.predictions, split, languages)
        found: tuple[str, str | None] = self.memo[key]
        return found

    # ---- data, and what could not be read --------------------------------------------------------------

    @property
    def data(self) -> DataProfile:
        """What ``data_profile.json`` tells."""
        return self._profile[0]

    @property
    def problems(self) -> tuple[str, ...]:
        """Files that could not be read, each with its reason; the report shows them."""
        found = (self._recipe[1], self._evaluations[1], self._profile[1])
        return tuple(str(problem) for problem in found if problem is not None)

    def require_scores(self) -> RunData:
        """Itself.

        Raises:
            UserError: its recipe or its scores can't be read, so that it can't be compared.
        """
        for problem in (self._recipe_file[1], self._metrics[1]):
            if problem is not None:
                raise problem
        return self

    @cached_property
    def memo(self) -> dict[tuple[str, ...], Any]:
        """What was read or computed from this run once already, by name."""
        return {}

    @cached_property
    def _recipe_file(self) -> tuple[str, UserError | None]:
        try:
            return self.directory.recipe.read_text(encoding="utf-8"), None
        except (OSError, UnicodeDecodeError) as error:
            return "", UserError(f"{self.directory.recipe} can't be read ({error})")

    @cached_property
    def _recipe(self) -> tuple[Recipe | None, UserError | None]:
        text, problem = self._recipe_file
        if problem is not None:
            return None, problem
        try:
            return Recipe.model_validate(yaml.parse(text, "recipe.yaml")), None
        except (ValueError, UserError) as error:
            return None, UserError(f"recipe.yaml is no recipe of this version ({str(error).splitlines()[0]})")

    @cached_property
    def _metrics(self) -> tuple[dict[str, Any], UserError | None]:
        try:
            return self.directory.read_metrics(), None
        except UserError as error:
            return {}, error

    @cached_property
    def _evaluations(self) -> tuple[dict[str, dict[str, Evaluation]], UserError | None]:
        metrics, problem = self._metrics
        if problem is not None:
            return {}, problem
        try:
            return parse_metrics(metrics, self.sources), None
        except UserError as error:
            return {}, error

    @cached_property
    def _profile(self) -> tuple[DataProfile, UserError | None]:
        path = self.directory.data_profile
        if not path.exists():
            return DataProfile(), None
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            return DataProfile(), UserError(f"{path.name} can't be read ({error})")
        return parse_profile(content if isinstance(content, dict) else {}), None


def load_run(run: RunDirectory | str | Path) -> RunData:
    """Loads a run directory, finished or not.

    Raises:
        UserError: it is no run directory, or its manifest can't be read.
    """
    directory = run if isinstance(run, RunDirectory) else RunDirectory.open(run)
    return RunData(directory, directory.read_manifest())
