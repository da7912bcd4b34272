"""What cheap models make of a run's texts: ``baselines/baselines.json``, beside the prediction records of one of them.

A report sets them beside the run, so that a reader sees whether an encoder earns its keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from glotune.errors import UserError
from glotune.recipe.kinds import KINDS, Kind, TaskName
from glotune.run.record import Count, Record
from glotune.run.records import Evaluation, Interval
from glotune.whole_files import sha256

if TYPE_CHECKING:
    from glotune.run.directory import RunDirectory

FILE = "baselines.json"
Name = Literal["majority", "tfidf"]
"""What knows the targets' frequencies alone, and TF-IDF."""


class Gain(Record):
    """The run minus TF-IDF, paired on the same texts: the mean of the task's metric over these languages."""

    split: str
    languages: list[str]
    value: float
    interval: Interval
    """Over texts: of this run's seed alone."""


class Baselines(Record):
    """What was fitted, and what it scores on each held-out split and language."""

    task: TaskName = "single_label"
    schema_version: int = 1
    description: str
    """What TF-IDF is here, in words."""
    texts: Count = 0
    """Training texts that it was fitted on: the run's own."""
    features: Count = 0
    left_out: str | None = None
    """Why there are no scores."""
    scores: dict[Name, list[Evaluation]] = Field(default_factory=dict)
    gains: list[Gain] = Field(default_factory=list)
    """For each language, and for the source and the target languages together."""
    predictions: dict[str, str] = Field(default_factory=dict)
    """File of TF-IDF's prediction records, below ``baselines/`` -> its SHA-256."""
    wall: dict[str, float] = Field(default_factory=dict)
    """Seconds that it took: no two runs agree on them."""

    @property
    def kind(self) -> Kind:
        """Of the run's task."""
        return KINDS[self.task]

    def names(self) -> dict[Name, str]:
        """Each of them for people."""
        return {"majority": self.kind.no_skill, "tfidf": "TF-IDF"}

    def score(self, name: Name, split: str, language: str) -> Evaluation | None:
        """The scores of one of them there."""
        found = (each for each in self.scores.get(name, []) if (each.split, each.language) == (split, language))
        return next(found, None)

    def gain(self, split: str, languages: list[str]) -> Gain | None:
        """The run minus TF-IDF there."""
        wanted = sorted(languages)
        found = (each for each in self.gains if each.split == split and sorted(each.languages) == wanted)
        return next(found, None)


def read_baselines(directory: RunDirectory) -> Baselines | None:
    """The baselines of a run; None where it has none.

    Raises:
        UserError: they can't be read, or a file of predictions is not what the run wrote.
    """
    path = directory.baselines / FILE
    if not path.is_file():
        return None
    try:
        found = Baselines.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"{path} can't be read as baselines ({str(error).splitlines()[0]})") from error
    for name, digest in found.predictions.items():
        file = directory.baselines / name
        if not file.is_file() or sha256(file) != digest:
            raise UserError(f"{file} is not what the run wrote", expected=f"SHA-256 {digest[:16]}")
    return found
