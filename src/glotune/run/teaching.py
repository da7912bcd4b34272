"""What a run learned from beside its labels: teachers' answers, and its own in rounds of self-training."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from glotune.run.record import SCHEMA, Count, DataSource, Record, Size


class TeacherRecord(Record):
    """One teacher, as the run found it."""

    name: str
    """The run or folder."""
    sha256: str
    """Over its weights, tokenizer and configuration."""
    size: Size


class Distillation(Record):
    """What a run learned from, beside its labelled texts."""

    teachers: list[TeacherRecord]
    unlabelled_texts: Count = 0
    unlabelled_hash: str = ""
    """Over the unlabelled texts and their languages; empty without any."""
    data: list[DataSource] = Field(default_factory=list)
    """Files of the unlabelled texts."""


class Round(Record):
    """One round of self-training, as it ended."""

    number: Count
    """0 is the ordinary run."""
    teacher: Count | None = None
    """The round whose model labelled the texts that this one learned from; None of round 0."""
    selected: dict[str, dict[str, Count]] = Field(default_factory=dict)
    """Language -> label -> pseudo-labelled texts that were trained on."""
    agreement: float | None = None
    """Share of all unlabelled texts to which this round's model gives the same label as the model of the round before;
    None of round 0."""
    metric: str
    value: float
    """Of its best weights, on the validation texts of the source languages: what the kept round is chosen by."""
    steps: Count
    verdict: str | None = None
    wall: dict[str, float] = Field(default_factory=dict)
    """``train_seconds``: of all steps; ``label_seconds``: of labelling the unlabelled texts with its model."""

    @property
    def num_texts(self) -> int:
        """Pseudo-labelled texts that it was trained on."""
        return sum(sum(counts.values()) for counts in self.selected.values())

    @property
    def by_label(self) -> dict[str, int]:
        """Label -> pseudo-labelled texts, of all languages."""
        found: dict[str, int] = {}
        for counts in self.selected.values():
            for label, number in counts.items():
                found[label] = found.get(label, 0) + number
        return found


class SelfTrained(Record):
    """What a run with ``self_training`` learned from beside its labelled texts, and what came of its rounds."""

    texts: dict[str, Count]
    """Language -> unlabelled texts."""
    texts_hash: str
    """Over these and their languages, in order."""
    data: list[DataSource]
    """Their files."""
    rounds: list[Round] = Field(default_factory=list)
    """Those that have ended."""
    kept: Count | None = None
    """The round whose model, predictions and events are the run's; None until all have ended."""
    ended: str = ""
    """Why there were no more rounds."""
    warnings: list[str] = Field(default_factory=list)

    @property
    def train_seconds(self) -> float:
        """In the steps of all rounds."""
        return sum(each.wall["train_seconds"] for each in self.rounds if "train_seconds" in each.wall)


class Speed(Record):
    """Texts a second, loading apart: of the whole of what answered, several teachers one after another."""

    student: float
    teacher: float
    device: str
    precision: str


class TeacherComparison(Record):
    """``teacher/comparison.json``: what the teacher was measured on beside the student at the run's end."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    split: str
    student: Size
    teacher: Size
    """Of several teachers the sum."""
    files: dict[str, str]
    """Scores and predictions of the teacher, below ``teacher/`` -> SHA-256."""
    wall: Speed

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)
