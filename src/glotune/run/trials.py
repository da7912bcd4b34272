"""What a search writes into the folder ``search/`` of its study, and the readers of it.

``search.json`` says what is searched and, at its end, what was found; ``trials.jsonl`` has a line for each change of a
trial, of which the last counts; ``rungs.jsonl`` has what each trial was worth after the epochs at which trials are
compared, and whether it went on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from glotune.errors import UserError
from glotune.run.record import SCHEMA, Count, Record

FOLDER, ABOUT, TRIALS, RUNGS = "search", "search.json", "trials.jsonl", "rungs.jsonl"
Line = TypeVar("Line", bound=Record)


class Trial(Record):
    """One recipe that a search tried."""

    schema_version: int = SCHEMA
    number: Count
    values: dict[str, Any]
    """Recipe key -> value."""
    is_plain: bool = False
    """Whether it is the recipe as it was, which is tried first where it lies in the space."""
    state: Literal["running", "complete", "pruned", "failed"] = "running"
    value: float | None = None
    """The best value on validation of the metric that chooses the checkpoint."""
    epochs: float | None = None
    """Epochs trained."""
    verdict: str | None = None
    """Of the run, on its validation texts."""
    reason: str | None = None
    """Why it failed."""
    seconds: float | None = None
    """Of its optimizer steps."""
    elapsed: float = 0.0
    """Seconds of search, over all sessions, when this was written."""

    @property
    def name(self) -> str:
        """Of its run."""
        return f"trial-{self.number:04d}"

    @property
    def is_sound(self) -> bool:
        """Whether it may win: trained to its end, and its verdict lets it count."""
        return self.state == "complete" and self.value is not None and not self.is_unsound

    @property
    def is_unsound(self) -> bool:
        """Whether its verdict says that it learned nothing."""
        return self.verdict in ("collapsed", "diverged", "no skill")

    @property
    def outcome(self) -> str:
        """How it ended, in a word or two."""
        if self.state == "complete" and self.is_unsound:
            return str(self.verdict)
        if self.state == "complete" and self.value is None:
            return "without a score"
        return "diverged" if self.state == "failed" and self.verdict == "diverged" else self.state


class SearchRecord(Record):
    """``search.json``."""

    schema_version: int = SCHEMA
    content: dict[str, Any]
    """The section `search` of the study, without its budget."""
    recipe: str
    """Hash of the recipe as it was: of what all trials share."""
    metric: str
    on: Literal["source", "target"]
    higher_is_better: bool
    first_rung: Count | None = None
    """The epoch after which trials are first compared; None: no trial is left early."""
    factor: Count = 3
    """One in so many goes on, and the next comparison is after so many times the epochs."""
    winner: Count | None = None
    """None: the search has not ended."""
    ended: str = ""
    """Why no further trial was begun."""


class Rung(Record):
    """What one trial was worth at one comparison."""

    run: str
    epoch: Count
    value: float
    goes_on: bool


def read_search(folder: Path) -> SearchRecord | None:
    """``search.json`` of a folder; None where there is none.

    Raises:
        UserError: it can't be read.
    """
    path = folder / ABOUT
    if not path.is_file():
        return None
    try:
        return SearchRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(
            f"{path} can't be read as the record of a search ({error.errors()[0]['msg']})",
            expected="the JSON that glotune wrote",
            remedy="Put it back, or search again in another folder",
        ) from error


def read_trials(folder: Path) -> list[Trial]:
    """All trials in order of their numbers, each as it stands."""
    found = {trial.number: trial for trial in _lines(folder / TRIALS, Trial)}
    return [found[number] for number in sorted(found)]


def read_rungs(path: Path) -> list[Rung]:
    """What stands in a ``rungs.jsonl``."""
    return list(_lines(path, Rung))


def _lines(path: Path, kind: type[Line]) -> Iterator[Line]:
    """The records of a file, one a line; torn lines (a crash while writing) are skipped, and no file has none."""
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            yield kind.model_validate_json(line)
        except ValidationError:
            continue


def best_of(trials: list[Trial], *, higher_is_better: bool) -> Trial | None:
    """The sound trial with the best value, of equal ones the first; None where no trial is sound."""
    sign = 1.0 if higher_is_better else -1.0
    sound = [trial for trial in trials if trial.is_sound]
    return max(sound, key=lambda trial: (sign * (trial.value or 0.0), -trial.number), default=None)
