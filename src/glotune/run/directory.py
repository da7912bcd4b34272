"""The run directory: where every file of a run lies, and how it is written so that it can't be half."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from glotune.errors import RunError, UserError
from glotune.recipe.paths import meant_beside
from glotune.run.record import SCHEMA
from glotune.run.records import Evaluation, Event, Manifest, RunStatus
from glotune.run.teaching import TeacherComparison
from glotune.whole_files import aside_of, resolved, sha256, sync, written_aside

A_RUN = "a folder that holds manifest.json, as written by glotune train"
A_CLASSIFIER = "a run directory, an export, or a folder with a saved text classifier (config.json)"
MOST_NAMED = 5
"""Runs of a folder that a message names."""
IN_SCORES = frozenset({int, float, dict, list, bool, type(None)})
"""Types of what ``metrics.json`` says of a language."""


def now() -> str:
    """The present moment in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes aside, syncs and renames: after a crash `path` holds the old content or the new, never a half."""
    with written_aside(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def _runs_in(folder: Path) -> str | None:
    """A hint where a folder of runs is named instead of one of them."""
    if not folder.is_dir():
        return None
    runs = [str(each.parent) for each in sorted(folder.glob("*/manifest.json"))]
    more = ", …" if len(runs) > MOST_NAMED else ""
    return f"It holds runs, name one: {', '.join(runs[:MOST_NAMED])}{more}" if runs else None


def require_classifier(path: Path) -> None:
    """Refuses what can be no classifier, before torch is imported.

    Raises:
        UserError: `path` is no run directory, and holds no ``config.json`` either.
    """
    if not (path / "config.json").is_file():
        RunDirectory.open(path, expected=A_CLASSIFIER)


class Occupied(UserError):
    """A place for a new run that holds something already."""


class RunDirectory:
    """Paths, manifest and events of one run. Reading needs neither torch nor a finished run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.manifest_path = self.path / "manifest.json"
        self.lock = self.path / ".lock"
        self.log = self.path / "log.txt"
        self.data = self.path / "data"
        self.data_profile = self.path / "data_profile.json"
        self.events_path = self.path / "events.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.adapter = self.path / "adapter"
        self.model = self.path / "model"
        self.predictions = self.path / "predictions"
        self.metrics_path = self.path / "metrics.json"
        self.baselines = self.path / "baselines"
        self.teacher = self.path / "teacher"
        self.rounds = self.path / "rounds"
        self.calibration = self.path / "calibration.json"
        self.report = self.path / "report"

    @classmethod
    def create(cls, path: Path, recipe_yaml: str, manifest: Manifest, data: Path | None = None) -> RunDirectory:
        """Makes the directory with its recipe and manifest, all at once or not at all.

        An empty folder, or a link to one, is filled and stays the folder that it is.

        Args:
            data: a folder with the run's own texts, which are copied; None where they lie elsewhere.

        Raises:
            Occupied: the directory exists and is not empty.
            UserError: it can't be written.
        """
        run = cls(path)
        content = {"recipe.yaml": recipe_yaml, "manifest.json": _as_json(manifest.model_dump(mode="json"))}
        try:
            run._refuse_occupied()
            _make_folder(resolved(path), content, data)
        except OSError as error:
            run._refuse_occupied()  # by another process, meanwhile
            raise UserError(
                f"the run directory {path} can't be written ({error.strerror or error})",
                expected="a place with write permission and free space",
                remedy="Name another one with --out",
            ) from error
        return run

    def _refuse_occupied(self) -> None:
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return
        is_run = self.manifest_path.exists()
        raise Occupied(
            f"{self.path} {'holds a run already' if is_run else 'exists and is not empty'}",
            expected="a new or empty directory",
            remedy=self._what_to_do_with_it() if is_run else "Name another one with --out",
        )

    def _what_to_do_with_it(self) -> str:
        if self.read_manifest().status is RunStatus.COMPLETE:
            return f"It is complete: see glotune report {self.path}, or name another directory with --out"
        return f"Continue it with: glotune resume {self.path}"

    def withdraw(self) -> None:
        """Deletes everything in the directory, and the directory unless it is a link or mounted there."""
        for child in self.path.iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink()
        with suppress(OSError):
            self.path.rmdir()

    @classmethod
    def open(cls, path: str | Path, expected: str = A_RUN) -> RunDirectory:
        """Opens an existing run.

        Args:
            expected: what may stand there, for the message where nothing of it does.

        Raises:
            UserError: `path` is no run directory.
        """
        run = cls(path)
        if not run.manifest_path.is_file():
            raise UserError(
                f"{path} is not a run directory" if run.path.exists() else f"there is no run at {path}",
                expected=expected,
                remedy=_runs_in(run.path) or meant_beside(run.path) or "List your runs with: glotune list",
            )
        return run

    # ---- manifest -------------------------------------------------------------------------------------

    def read_manifest(self) -> Manifest:
        """The manifest; raises UserError where it can't be read as one."""
        try:
            content = from_json(self.manifest_path.read_bytes())
            if isinstance(content, dict) and _newer(content):
                raise UserError(
                    f"{self.manifest_path} has schema {content['schema']}",
                    expected=f"schema {SCHEMA} or older",
                    remedy="Update glotune to read it",
                )
            return Manifest.model_validate(content)
        except UserError:
            raise
        except (OSError, ValueError, ValidationError, RecursionError) as error:
            raise UserError(
                f"{self.manifest_path} can't be read as a manifest ({_first_line(error)})",
                expected="the JSON that glotune wrote",
            ) from error

    def write_manifest(self, manifest: Manifest) -> None:
        """Replaces the manifest atomically, stamping `updated`."""
        stamped = manifest.model_copy(update={"updated": now()})
        write_atomically(self.manifest_path, _as_json(stamped.model_dump(mode="json")))

    def update_manifest(self, **changes: Any) -> Manifest:
        """Reads, changes and replaces the manifest; returns the new one."""
        manifest = self.read_manifest().model_copy(update=changes)
        self.write_manifest(manifest)
        return manifest

    # ---- events ---------------------------------------------------------------------------------------

    def append_events(self, events: list[Event]) -> None:
        """Appends events; each is one line, written in one call."""
        lines = "".join(event.model_dump_json() + "\n" for event in events)
        with self.events_path.open("ab") as file:
            file.write(lines.encode())

    def heal_events(self) -> None:
        """Cuts a torn last line off (a crash while appending), so that the next attempt starts on a line of its own."""
        if not self.events_path.exists():
            return
        content = self.events_path.read_bytes()
        if content and not content.endswith(b"\n"):
            with self.events_path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)

    def events(self) -> list[Event]:
        """All events that count: per (kind, step, key) the one of the last attempt, superseded steps dropped.

        An attempt supersedes what earlier attempts wrote after the step it resumed from. A half last line
        (a crash while writing) is ignored.
        """
        return events_that_count(self.raw_events())

    def raw_events(self) -> Iterator[Event]:
        """Every readable line, in the order written."""
        if not self.events_path.exists():
            return
        with self.events_path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                try:
                    yield Event.model_validate_json(line)
                except ValidationError:
                    continue  # a torn line in front of a resumed attempt's first one

    # ---- metrics --------------------------------------------------------------------------------------

    def write_metrics(self, evaluations: list[Evaluation]) -> None:
        """Writes ``metrics.json``: split -> language -> n, scores, intervals, per class, confusion."""
        content: dict[str, Any] = {"schema": SCHEMA}
        for evaluation in evaluations:
            entry = {
                "n": evaluation.n,
                **evaluation.scores,
                "intervals": {name: interval.model_dump() for name, interval in evaluation.intervals.items()},
                "per_class": evaluation.per_class,
                "confusion": evaluation.confusion,
            }
            content.setdefault(evaluation.split, {})[evaluation.language] = entry
        write_atomically(self.metrics_path, _as_json(content))

    def read_metrics(self) -> dict[str, Any]:
        """``metrics.json`` as written; empty where the run has none yet."""
        return self.parse_scores(self.metrics_path.read_bytes()) if self.metrics_path.exists() else {}

    def parse_scores(self, written: bytes) -> dict[str, Any]:
        """The content of ``metrics.json``; raises UserError where it is none."""
        try:
            content = from_json(written)  # twice as fast as json.loads: a thousand runs are compared
        except ValueError as error:
            raise UserError(f"{self.metrics_path} is not JSON ({_first_line(error)})") from error
        if not isinstance(content, dict):
            raise UserError(f"{self.metrics_path} holds no JSON object")
        for split, languages in content.items():
            if split != "schema" and not _are_scores(languages):
                raise UserError(
                    f"{self.metrics_path} holds something other than scores under '{split}'",
                    expected="language -> n and scores, as glotune wrote it",
                )
        return content

    def write_teacher_comparison(self, comparison: TeacherComparison) -> None:
        """Writes ``teacher/comparison.json``, beside the teacher's predictions and ``metrics.json``."""
        write_atomically(self.teacher / "comparison.json", _as_json(comparison.model_dump(mode="json")))

    def read_teacher_comparison(self) -> TeacherComparison | None:
        """As written; None where the run has no teacher, or was not set beside it yet.

        Raises:
            UserError: it can't be read, or what the teacher said is not what the run wrote.
        """
        path = self.teacher / "comparison.json"
        if not path.exists():
            return None
        try:
            found = TeacherComparison.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(f"{path} can't be read ({_first_line(error)})", expected="what glotune wrote") from error
        for name, digest in found.files.items():
            file = self.teacher / name
            if not file.is_file() or sha256(file) != digest:
                raise UserError(f"{file} is not what the run wrote", expected=f"SHA-256 {digest[:16]}")
        return found

    def prediction_files(self) -> list[Path]:
        """The prediction tables of the run, sorted by split and language."""
        return sorted(self.predictions.glob("*.parquet"))

    # ---- hashes ---------------------------------------------------------------------------------------

    def outputs(self) -> list[Path]:
        """The files that a comparison or claim follows from: recipe, scores, profile of the texts, predictions.

        What cheap models and a teacher make of the same texts belongs to them (their own records are held by hashes in
        those files), and what the rounds of self-training said of the unlabelled texts.
        """
        beside = [self.baselines / "baselines.json", self.teacher / "comparison.json"]
        known = [self.recipe, self.metrics_path, self.data_profile, *beside]
        labelled = sorted(self.rounds.glob("*/labels.parquet"))
        return [*(path for path in known if path.is_file()), *labelled, *self.prediction_files()]

    def hashes(self) -> dict[str, str]:
        """Path inside the run -> SHA-256 of each of its `outputs`."""
        return {path.relative_to(self.path).as_posix(): sha256(path) for path in self.outputs()}

    def require_trained(self, where: str | None = None, remedy: str | None = None) -> None:
        """Raises UserError for a pretraining run; `where` is the recipe key that names it, where one does."""
        if self.read_manifest().kind != "train":
            raise UserError(
                f"{self.path} is a pretraining run: it has no classifier",
                where=where,
                expected="a run of glotune train",
                remedy=remedy or f"Train one from its encoder, with model.name={self.model}",
            )

    def require_model(self) -> Path:
        """The saved model's folder; raises RunError where the run has none yet."""
        if not (self.model / "config.json").is_file():
            status = self.read_manifest().status
            goes_on = f"Finish it with: glotune resume {self.path}"
            if status is RunStatus.COMPLETE:  # a trial of a search, or somebody deleted it
                goes_on = f"Its weights were deleted. Train it again with: glotune train {self.recipe}"
            raise RunError(f"{self.path} holds no saved model: its status is {status.value}. {goes_on}")
        return self.model


def _make_folder(folder: Path, content: dict[str, str], data: Path | None) -> None:
    """A folder with the data and these text files: a new one at once, one that is there file by file in that order."""
    if folder.is_dir():
        _fill(folder, content, data)
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(folder)
    try:
        aside.mkdir()
        _fill(aside, content, data)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    sync(folder.parent)


def _fill(folder: Path, content: dict[str, str], data: Path | None) -> None:
    """Copies the data and writes files that are not there yet; on any error what came goes again."""
    written: list[Path] = []
    try:
        if data is not None:
            shutil.copytree(data, folder / data.name)
        for name, text in content.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                written.append(folder / name)
                file.write(text)
    except BaseException:
        for path in written:
            path.unlink()
        if data is not None:
            shutil.rmtree(folder / data.name, ignore_errors=True)
        raise
    sync(folder)


def events_that_count(events: Iterable[Event]) -> list[Event]:
    """Of events in the order written: per (kind, step, key) the last, and nothing that a later attempt supersedes."""
    kept: list[Event] = []
    attempt = 0
    for event in events:
        if event.attempt > attempt:
            attempt = event.attempt
            kept = [old for old in kept if old.step <= event.step]
        kept.append(event)
    last = {(event.kind, event.step, event.key): position for position, event in enumerate(kept)}
    return [event for position, event in enumerate(kept) if last[event.kind, event.step, event.key] == position]


def _are_scores(languages: Any) -> bool:
    """Whether this is language -> {n, metric: number or null, ...}."""
    return isinstance(languages, dict) and all(
        isinstance(entry, dict)
        and isinstance(entry.get("n"), int)
        and {type(value) for value in entry.values()} <= IN_SCORES
        for entry in languages.values()
    )


def _newer(content: dict[str, Any]) -> bool:
    schema = content.get("schema", SCHEMA)
    return isinstance(schema, int) and schema > SCHEMA


def _as_json(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
