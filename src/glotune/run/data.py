"""One run directory as typed data, read as it is asked for. Unfinished runs load too, with less in them."""

from __future__ import annotations

import hashlib
import json
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
from glotune.run.baselines import Baselines, read_baselines
from glotune.run.directory import RunDirectory
from glotune.run.history import History, read_history, read_last
from glotune.run.metrics import parse_metrics
from glotune.run.predictions import (
    Predictions,
    numbered_alike,
    read_predictions,
    row_digest,
    split_and_language,
    text_digest,
)
from glotune.run.profile import DataProfile, parse_profile, read_leaked
from glotune.run.records import Evaluation, Manifest, TeacherComparison, Verdict
from glotune.whole_files import sha256

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
        return self._recipe[0]

    @property
    def recipe_yaml(self) -> str:
        """recipe.yaml as it stands; empty where it can't be read."""
        return self._recipe_file[0]

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
                    remedy="Write them with: glotune evaluate",
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
        return self._teacher[0]

    @cached_property
    def _teacher(self) -> tuple[TeacherComparison | None, UserError | None]:
        try:
            return self.directory.read_teacher_comparison(), None
        except UserError as error:
            return None, error

    # ---- data, and what could not be read --------------------------------------------------------------

    @cached_property
    def leaked(self) -> dict[str, dict[str, list[int]]]:
        """split -> language -> source rows whose text stands in an earlier split too; the rest of the profile, which is
        many times as long, is not read."""
        try:
            return read_leaked(self._content(self.directory.data_profile))
        except OSError:
            return {}

    @property
    def data(self) -> DataProfile:
        """What ``data_profile.json`` tells."""
        return self._profile[0]

    @property
    def baselines(self) -> Baselines | None:
        """What cheap models make of the same texts; None where the run has none, or they can't be read."""
        return self._baselines[0]

    @property
    def problems(self) -> tuple[str, ...]:
        """Files that are not what the run wrote or could not be read, each with its reason; the report shows them."""
        found = (self._recipe[1], self._evaluations[1], self._profile[1], self._baselines[1], self._teacher[1])
        altered = (f"{name} is not what the run wrote: what is shown of it proves nothing." for name in self.altered)
        return (*altered, *(str(problem) for problem in found if problem is not None))

    def require_scores(self) -> RunData:
        """Itself.

        Raises:
            UserError: its recipe or its scores can't be read, or are not what the run wrote, so that it can't be
                compared.
        """
        for problem in (self._recipe_file[1], self._metrics[1]):
            if problem is not None:
                raise problem
        self.require_as_written([self.directory.recipe, self.directory.metrics_path, self.directory.data_profile])
        return self

    # ---- whether it is what the run wrote (C9) ----------------------------------------------------------

    @property
    def has_hashes(self) -> bool:
        """Whether its manifest holds hashes of what it wrote: not before its end, nor for runs of older versions."""
        return self.manifest.outputs is not None

    def is_altered(self, path: Path) -> bool:
        """Whether a file of the run is not what the run wrote; False where it kept no hashes."""
        if self.manifest.outputs is None:
            return False
        key = ("altered", path.relative_to(self.path).as_posix())
        if key not in self.memo:
            self._compare_hash(path, sha256(path) if path.is_file() else None)
        return bool(self.memo[key])

    def _compare_hash(self, path: Path, found: str | None) -> None:
        """Keeps whether a file's hash is the one that the run wrote down."""
        name = path.relative_to(self.path).as_posix()
        self.memo["altered", name] = found != (self.manifest.outputs or {}).get(name)

    def _content(self, path: Path) -> bytes:
        """A small file, read once for what it says and for its hash."""
        content = path.read_bytes()
        if self.has_hashes:
            self._compare_hash(path, hashlib.sha256(content).hexdigest())
        return content

    @cached_property
    def altered(self) -> tuple[str, ...]:
        """Paths inside the run of all files that were changed, added or deleted since the run ended."""
        known = {self.path / name for name in self.manifest.outputs or ()}
        paths = sorted(known | set(self.directory.outputs()))
        return tuple(path.relative_to(self.path).as_posix() for path in paths if self.is_altered(path))

    def require_as_written(self, paths: Iterable[Path]) -> None:
        """Refuses the run where one of these files is not what it wrote: nothing would follow from it.

        Raises:
            UserError: names the file, and what to do.
        """
        for path in paths:
            if self.is_altered(path):
                raise UserError(
                    f"{path} is not what the run wrote "
                    f"({'its SHA-256 is not the one in manifest.json' if path.is_file() else 'it is gone'})",
                    expected="the files of a run as they were at its end",
                    remedy=f"Put the run's own file back, leave {self.path} out, or train it again into another "
                    f"directory: glotune reproduce {self.path}",
                )

    @cached_property
    def memo(self) -> dict[tuple[str, ...], Any]:
        """What was read or computed from this run once already, by name."""
        return {}

    @cached_property
    def _recipe_file(self) -> tuple[str, UserError | None]:
        try:
            return self._content(self.directory.recipe).decode("utf-8"), None
        except (OSError, UnicodeDecodeError) as error:
            return "", UserError(f"{self.directory.recipe} can't be read ({error})")

    @cached_property
    def _recipe(self) -> tuple[Recipe | None, UserError | None]:
        text, problem = self._recipe_file
        if problem is not None:
            return None, problem
        from glotune.recipe import Recipe, yaml

        try:
            return Recipe.model_validate(yaml.parse(text, "recipe.yaml")), None
        except (ValueError, UserError) as error:
            return None, UserError(f"recipe.yaml is no recipe of this version ({str(error).splitlines()[0]})")

    @cached_property
    def _metrics(self) -> tuple[dict[str, Any], UserError | None]:
        try:
            return self.directory.parse_scores(self._content(self.directory.metrics_path)), None
        except FileNotFoundError:
            return {}, None  # a run that was not evaluated yet
        except OSError as error:
            return {}, UserError(f"{self.directory.metrics_path} can't be read ({error})")
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
    def _baselines(self) -> tuple[Baselines | None, UserError | None]:
        try:
            return read_baselines(self.directory), None
        except UserError as error:
            return None, error

    @cached_property
    def _profile(self) -> tuple[DataProfile, UserError | None]:
        path = self.directory.data_profile
        if not path.exists():
            return DataProfile(), None
        try:
            content = json.loads(self._content(path))
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
