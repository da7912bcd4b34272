"""One run directory as typed data, read as it is asked for. Unfinished runs load too, with less in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glotune.errors import UserError
from glotune.recipe.keys import Value, flat_keys, section_keys, variant_key
from glotune.recipe.kinds import KINDS, Kind
from glotune.run.as_written import AsWritten
from glotune.run.baselines import Baselines
from glotune.run.contents import Contents
from glotune.run.directory import RunDirectory
from glotune.run.history import History, read_history, read_last
from glotune.run.predictions import (
    Predictions,
    numbered_alike,
    read_predictions,
    row_digest,
    split_and_language,
    text_digest,
)
from glotune.run.profile import DataProfile, read_leaked, read_leaked_files
from glotune.run.records import Evaluation, Manifest, Verdict
from glotune.run.teaching import TeacherComparison

if TYPE_CHECKING:
    from glotune.recipe.schema import Recipe
    from glotune.stats.arrays import Answered
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
    left_out: Mapping[tuple[str, str], NDArray[np.int64]] = field(default_factory=dict)
    """(split, language) -> places, in the order of files and rows, of texts that are not counted: see `leaving_out`."""

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
    def kind(self) -> Kind:
        """Of the run's task: what is told of it."""
        return KINDS[self.manifest.task]

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
        return self._contents.recipe[0]

    @property
    def recipe_yaml(self) -> str:
        """recipe.yaml as it stands; empty where it can't be read."""
        return self._contents.recipe_file[0]

    @cached_property
    def keys(self) -> dict[str, Value]:
        """The recipe as flat keys."""
        return flat_keys(self.recipe_yaml)

    def section(self, name: str) -> dict[str, Value]:
        """One section of the recipe as flat keys, much quicker than `keys`: a thousand runs mostly share theirs."""
        key = ("section", name)
        if key not in self.memo:
            self.memo[key] = section_keys(self.recipe_yaml, name)
        found: dict[str, Value] = self.memo[key]
        return found

    @cached_property
    def training_data(self) -> str:
        """Equal for runs that were trained and tested on the same data, whatever their seed.

        It is the hash of the texts that were used; where the recipe draws some of the rows by its seed, of the files.
        """
        data = self.section("data")
        drawn = data.get("data.fraction") != 1.0 or data.get("data.train_rows") is not None
        drawn = drawn or any(key.startswith("data.few_shot.") for key in data)
        return " ".join(sorted(source.sha256 for source in self.manifest.data)) if drawn else self.manifest.data_hash

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
        return self._contents.metrics[0]

    @property
    def evaluations(self) -> dict[str, dict[str, Evaluation]]:
        """split -> language -> scores of the best checkpoint, source languages first."""
        return self._contents.evaluations[0]

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
        key = ("score", split, metric, *languages)
        if key not in self.memo:  # a table asks for it again in every cell
            values = [self._score(split, metric, language) for language in languages]
            known = [float(value) for value in values if value is not None]
            self.memo[key] = sum(known) / len(known) if known and len(known) == len(values) else None
        found: float | None = self.memo[key]
        return found

    def _score(self, split: str, metric: str, language: str) -> float | None:
        if (split, language) in self.left_out:
            return self.recomputed(split, language).get(metric)
        found: float | None = self._entries(split).get(language, {}).get(metric)
        return found

    def recomputed(self, split: str, language: str) -> dict[str, float | None]:
        """The scores of one split and language from its prediction records.

        Raises:
            UserError: as `outcomes`.
        """
        key = ("recomputed", split, language)
        if key not in self.memo:
            self.memo[key] = self.outcomes(split, language).values()
        found: dict[str, float | None] = self.memo[key]
        return found

    def texts(self, split: str, languages: list[str]) -> int:
        """How many texts the scores stand on."""
        counted = sum(int(self._entries(split).get(language, {}).get("n") or 0) for language in languages)
        return counted - sum(len(self.left_out.get((split, language), ())) for language in languages)

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
                self.memo[key] = self._read(path, split, language) if path else None
            except UserError:
                self.memo[key] = None
        found: Predictions | None = self.memo[key]
        return found

    def outcomes(self, split: str, language: str) -> Answered:
        """The predictions of one split and language, by source file and row.

        Raises:
            UserError: the run recorded none, they can't be read, or they are not what the run wrote.
        """
        key = ("outcomes", split, language)
        if key not in self.memo:
            path = self.prediction_paths.get((split, language))
            if path is None:
                raise UserError(
                    f"{self.path} holds no predictions for {split}/{language}",
                    remedy=f"A run writes them as it ends; make it again with: glotune reproduce {self.path}",
                )
            self.require_as_written([path])
            self.memo[key] = (self.predictions(split, language) or self._read(path, split, language)).in_order
        found: Answered = self.memo[key]
        return found

    def keeps_records(self, split: str, languages: list[str]) -> bool:
        """Whether there are predictions to hold against those of other runs, or were when the run ended."""
        known = self.manifest.outputs or {}
        return all(path.is_file() or f"predictions/{path.name}" in known for path in self._tables(split, languages))

    def answered(self, split: str, languages: list[str]) -> dict[str, Answered]:
        """`outcomes` of several languages, their texts that belong together numbered alike.

        Raises:
            UserError: as `outcomes`.
        """
        key = ("answered", split, *languages)
        if key not in self.memo:  # a comparison asks once for each pair and claim
            for language in languages:
                self.outcomes(split, language)  # says what is missing
            tables = {language: self.predictions(split, language) for language in languages}
            self.memo[key] = numbered_alike({name: table for name, table in tables.items() if table is not None})
        found: dict[str, Answered] = self.memo[key]
        return found

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

        Where the records of both are as written, the same files, rows and labels are the same texts. Otherwise the
        texts themselves are compared, where both runs kept them (the same texts may stand in another file).
        """
        same_rows = self._row_digest(split, languages) == other._row_digest(split, languages)
        if same_rows and self.has_hashes and other.has_hashes:
            return True
        mine, others = self._text_digest(split, languages), other._text_digest(split, languages)
        return same_rows if mine is None or others is None else mine == others

    def _row_digest(self, split: str, languages: list[str]) -> str:
        key = ("rows", split, *languages)
        if key not in self.memo:
            self.require_as_written(self._tables(split, languages))
            self.memo[key] = row_digest([self._required(split, language) for language in sorted(languages)])
        return str(self.memo[key])

    def _text_digest(self, split: str, languages: list[str]) -> str | None:
        key = ("texts", split, *languages)
        if key not in self.memo:
            self.memo[key] = text_digest([self._required(split, language) for language in sorted(languages)])
        found: str | None = self.memo[key]
        return found

    def _tables(self, split: str, languages: list[str]) -> list[Path]:
        return [self.directory.predictions / f"{split}.{language}.parquet" for language in languages]

    def _required(self, split: str, language: str) -> Predictions:
        path = self._tables(split, [language])[0]
        return self.predictions(split, language) or self._read(path, split, language)

    def _read(self, path: Path, split: str, language: str) -> Predictions:
        table = read_predictions(path)
        return table.leaving_out(self.left_out[split, language]) if (split, language) in self.left_out else table

    def leaving_out(self, places: Mapping[tuple[str, str], NDArray[np.int64]]) -> RunData:
        """The same run scored without some texts: its scores are those of the predictions that are left."""
        return replace(self, left_out=places)

    # ---- teacher --------------------------------------------------------------------------------------

    @cached_property
    def teacher(self) -> RunData | None:
        """What the run's teacher said of the same texts: evaluations and predictions; None where there is none."""
        if self.teacher_comparison is None:
            return None
        # Its records are held by the hashes of its comparison, which the run's own hashes hold.
        return RunData(RunDirectory(self.directory.teacher), self.manifest.model_copy(update={"outputs": None}))

    @property
    def teacher_comparison(self) -> TeacherComparison | None:
        """Size and speed of student and teacher; None without a teacher, before the run's end, or unreadable."""
        return self._contents.teacher[0]

    # ---- data, and what could not be read --------------------------------------------------------------

    @cached_property
    def leaked(self) -> dict[str, dict[str, list[int]]]:
        """split -> language -> source rows whose text stands in an earlier split too; the rest of the profile, which is
        many times as long, is not read."""
        return read_leaked(self._written_profile)

    def leaked_among(self, table: Predictions) -> NDArray[np.bool_] | None:
        """[B] which texts of these predictions stand in an earlier split too.

        None where several files share row numbers and an older profile doesn't tell the files.
        """
        rows = self.leaked.get(table.split, {}).get(table.language, [])
        files = self._leaked_files.get(table.split, {}).get(table.language, []) if rows else []
        return table.of_rows(rows, files if len(files) == len(rows) else None)

    @cached_property
    def _leaked_files(self) -> dict[str, dict[str, list[str]]]:
        return read_leaked_files(self._written_profile)

    @property
    def _written_profile(self) -> bytes:
        try:
            return self._files.content(self.directory.data_profile)
        except OSError:
            return b""

    @property
    def data(self) -> DataProfile:
        """What ``data_profile.json`` tells."""
        return self._contents.profile[0]

    @property
    def baselines(self) -> Baselines | None:
        """What cheap models make of the same texts; None where the run has none, or they can't be read."""
        return self._contents.baselines[0]

    @property
    def problems(self) -> tuple[str, ...]:
        """Files that are not what the run wrote or could not be read, each with its reason; the report shows them."""
        altered = (f"{name} is not what the run wrote: what is shown of it proves nothing." for name in self.altered)
        return (*altered, *map(str, self._contents.problems))

    def require_scores(self) -> RunData:
        """Itself.

        Raises:
            UserError: its recipe or its scores can't be read, or are not what the run wrote, so that it can't be
                compared.
        """
        for problem in (self._contents.recipe_file[1], self._contents.metrics[1]):
            if problem is not None:
                raise problem
        self.require_as_written([self.directory.recipe, self.directory.metrics_path, self.directory.data_profile])
        return self

    # ---- whether it is what the run wrote (C9) ----------------------------------------------------------

    @property
    def has_hashes(self) -> bool:
        """See `AsWritten.has_hashes`."""
        return self._files.has_hashes

    @property
    def altered(self) -> tuple[str, ...]:
        """See `AsWritten.altered`."""
        return self._files.altered

    def require_as_written(self, paths: Iterable[Path]) -> None:
        """See `AsWritten.require`."""
        self._files.require(paths)

    # ---- what is read once ------------------------------------------------------------------------------

    @cached_property
    def _files(self) -> AsWritten:
        return AsWritten(self.directory, self.manifest)

    @cached_property
    def _contents(self) -> Contents:
        return Contents(self.directory, self._files, self.sources)

    @cached_property
    def memo(self) -> dict[tuple[str, ...], Any]:
        """What was read or computed from this run once already, by name."""
        return {}


def load_run(run: RunDirectory | str | Path) -> RunData:
    """Loads a run directory, finished or not.

    Raises:
        UserError: it is no run directory, or its manifest can't be read.
    """
    directory = run if isinstance(run, RunDirectory) else RunDirectory.open(run)
    return RunData(directory, directory.read_manifest())
