"""The schema of every line and file that a run writes. Files are the interface."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator

from glotune.run.record import SCHEMA, Count, DataSource, Record
from glotune.run.teaching import Distillation, SelfTrained

RESTARTED = "collapsed and restarted once"
"""How the deviation of a run begins that was given a gentler rate after it collapsed."""
ON_REQUEST = "on request"
"""Key of the checkpoint that an interruption asks for: no part of the uninterrupted run's log."""


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    PRUNED = "pruned"
    """A trial of a search that was left early, as others were better at that epoch."""
    COMPLETE = "complete"


class Plan(Record):
    """What the machine decided: with the recipe, the seed and the data it fixes every number of the run."""

    device: str
    """``cpu``, ``cuda``, ``mps`` or ``tpu``."""
    precision: Literal["fp32", "bf16", "fp16"]
    attention: Literal["packed_sdpa", "varlen", "efficient", "blocks", "padded"]
    """``varlen`` (flash attention) and ``efficient`` pad nothing; ``packed_sdpa`` pads only around the attention
    product; ``blocks`` fills batches up to a few shapes; ``padded`` is the fallback."""
    token_budget: Count
    """Most tokens in one micro-batch."""
    threads: Count
    ranks: Count = 1
    reads_prefix: bool = True
    """False: a GPU computes the frozen prefix faster than its kept output is read back."""
    reasons: dict[str, str] = Field(default_factory=dict)
    """Key of this plan -> why it was chosen."""
    wall: dict[str, float] = Field(default_factory=dict)
    """What the probe measured and expects (seconds, bytes, tokens per second): no two runs agree on it, and no number
    of a run follows from it."""


class Change(Record):
    """What one step of surgery did to the encoder."""

    kind: Literal[
        "truncate",
        "trim_vocabulary",
        "freeze",
        "lora",
        "pack",
        "pooled_last_layer",
        "pooling",
        "prefix_cache",
        "new_pieces",
        "new_encoder",
    ]
    description: str
    """One line for the log, with what it saves."""
    parameters_before: Count
    parameters_after: Count
    trainable_before: Count
    trainable_after: Count
    details: dict[str, Any] = Field(default_factory=dict)


class Event(Record):
    """One line of ``events.jsonl``: append-only; readers keep the last per (kind, step, key)."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    kind: Literal[
        "plan",
        "change",
        "step",
        "objectives",
        "epoch",
        "evaluation",
        "checkpoint",
        "best",
        "average",
        "warning",
        "alert",
        "deviation",
        "status",
        "cost",
    ]
    attempt: Count
    """1 for the first process of the run, one more for each resume."""
    step: Count
    """Optimizer steps done."""
    epoch: float
    time: str
    """UTC, ISO 8601; for people only: no reader orders by it."""
    key: str = ""
    """Tells apart events of one kind and step, e.g. ``validation/bn``."""
    data: dict[str, Any] = Field(default_factory=dict)

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class Averaged(Record):
    """Of a run that could end with the mean of several weights: which, how good it was, and what was kept."""

    members: list[str]
    """``step 40`` of this run, or the folders of other runs; those that the mean was taken over."""
    left_out: list[str] = Field(default_factory=list)
    """Runs that a greedy soup did without."""
    metric: str
    on: str
    """Whose validation texts: ``source`` or ``target``."""
    value: float
    """Of the mean, on the validation texts that choose the checkpoint."""
    best_value: float
    """Of the best single weights there."""
    kept: bool
    """Whether the run ends with the mean; otherwise with the best single weights."""


class Verdict(Record):
    """What may be believed about a run."""

    status: Literal["sound", "collapsed", "diverged", "no skill", "improving", "overfit"]
    evidence: list[str]
    """Sentences with the numbers that led to the status."""
    remedy: list[str] = Field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether a comparison with this run means something (still improving or overfit runs do)."""
        return self.status not in ("collapsed", "diverged", "no skill")

    @property
    def as_verb(self) -> str:
        """What the run did, for sentences: ``collapsed``, ``showed no skill``."""
        return "showed no skill" if self.status == "no skill" else self.status


class Decision(Record):
    """What turns a network's outputs into answers beside its weights, fitted on the run's own texts."""

    thresholds: list[float] = Field(default_factory=list)
    """Of each label: it is answered from this probability on. Of single labels the class is answered whose probability
    is highest beside its threshold (`glotune.stats.thresholds`)."""
    fitted_on: list[str] = Field(default_factory=list)
    """Validation languages that the thresholds were fitted on; none where the recipe gives the threshold."""
    tuned_for: str | None = None
    """The metric that the thresholds of single labels maximise on these texts."""
    means: list[float] = Field(default_factory=list)
    """Of each score over the training texts: outputs are learned in standard deviations from it."""
    deviations: list[float] = Field(default_factory=list)
    """Standard deviation of each score over the training texts."""
    levels: list[float] = Field(default_factory=list)
    """The only values that scores take; empty where they are any numbers."""


class Choice(Record):
    """One key that ``glotune train auto`` chose, or that the user gave in place of what it would have chosen."""

    key: str
    value: Any
    why: str
    measured: str | None = None
    """Pages of the documentation that show it; None: not measured."""
    is_given: bool = False

    @property
    def told(self) -> str:
        """In a sentence."""
        value = "null" if self.value is None else json.dumps(self.value, ensure_ascii=False)
        shown = f"shown in {self.measured}" if self.measured else "not measured"
        return f"{self.key} = {value}: {self.why}" + ("" if self.is_given else f" ({shown})")


class Manifest(Record):
    """``manifest.json``: status, plan, versions, hardware, data hashes, seed, command."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    kind: Literal["train", "pretrain"] = "train"
    name: str
    status: RunStatus
    reason: str | None = None
    """Why the run failed or was interrupted."""
    attempt: Count = 1
    created: str
    updated: str
    seed: int
    recipe_hash: str
    command: list[str]
    task: Literal["single_label", "multi_label", "score"] = "single_label"
    labels: list[str]
    """Label names in the order of the class ids, or names of the scores, fixed once per run."""
    decision: Decision | None = None
    """How the best checkpoint's outputs become answers; None of single labels without thresholds, and before a run's
    end."""
    source_languages: list[str] = Field(default_factory=list)
    plan: Plan | None = None
    changes: list[Change] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)
    hardware: dict[str, Any] = Field(default_factory=dict)
    data: list[DataSource] = Field(default_factory=list)
    data_hash: str = ""
    """Hash over all texts, labels, languages and splits that the run uses, after its checks."""
    distillation: Distillation | None = None
    """The teachers and the unlabelled texts of a run that has any."""
    self_training: SelfTrained | None = None
    """Of a run in rounds, from its first step on."""
    choices: list[Choice] = Field(default_factory=list)
    """Why the recipe is as it is, where ``glotune train auto`` chose it."""
    best_step: Count | None = None
    averaged: Averaged | None = None
    """None: the recipe asks for no mean, or the run has not come to its end."""
    verdict: Verdict | None = None
    deviations: list[str] = Field(default_factory=list)
    """Where a later attempt departed from the stored plan."""
    trust_remote_code: bool = False
    encoder_is_folder: bool | None = None
    """Whether ``model.name`` led to a folder of the machine when the run began: its name may look like one of the Hub.
    None: the run was made before this was noted."""
    notes: list[str] = Field(default_factory=list)
    outputs: dict[str, str] | None = None
    """SHA-256 by path of what readers compare and claim from (see `RunDirectory.outputs`), as the run left it at its
    end. None: the run has not ended, or was made before hashes were kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    @property
    def needs_code(self) -> bool:
        """Whether transformers opens the saved model under ``trust_remote_code=True`` alone, because its head reads the
        mean of all tokens in a family for which transformers has no such class."""
        return any(change.kind == "pooling" for change in self.changes)


class Interval(Record):
    """A confidence interval."""

    low: float
    high: float
    level: float = 0.95


class Evaluation(Record):
    """The scores of one split and language, as in ``metrics.json``; recomputable from the predictions."""

    split: str
    language: str
    n: Count
    scores: dict[str, float | None]
    """Metric name -> value; None where it is undefined, e.g. AUC with one class present."""
    intervals: dict[str, Interval] = Field(default_factory=dict)
    per_class: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Label name -> precision, recall, f1, support."""
    confusion: list[list[Count]] = Field(default_factory=list)
    """``confusion[true][predicted]``."""

    @field_validator("confusion")
    @classmethod
    def _is_square(cls, rows: list[list[int]]) -> list[list[int]]:
        lengths = {len(row) for row in rows}
        if lengths - {len(rows)}:
            raise ValueError(
                f"a confusion matrix has as many columns as rows: {len(rows)} rows, columns {sorted(lengths)}"
            )
        return rows


PREDICTION_COLUMNS = (
    "data_hash",
    "row",
    "split",
    "language",
    "label",
    "predicted",
    "probabilities",
    "loss",
    "text",
    "text_pair",
    "text_key",
    "id",
)
"""Columns of ``predictions/SPLIT.LANGUAGE.parquet``, one row per text. (`data_hash`, `row`) is its key: the SHA-256
of its source file and the row there (1 = the first data row). `label` and `predicted` are class ids,
`probabilities` a list of float64 per class, `loss` is in nats. Of several labels, `label` and `predicted` are lists of
int8 (null: not annotated) and `probabilities` those of each label by itself; of scores, they are lists of float64
(null: no score), there are no probabilities, and `loss` is in units of the training scores' variance. `text` is null
where the recipe says ``records.text: false``; `text_pair` is null without pairs. `text_key` is a 64-bit hash of the
normalised text and `id` the value of the column that ``data.columns.id`` names, null without: both say which texts
belong together. Records of older versions lack these two. Where the recipe names ``data.columns.votes``, a column
`votes` holds a list of float32, the votes for each class, and `loss` is the cross-entropy against their shares;
with ``data.weighted_metrics`` a column `weight` holds how much each text counts, float32."""
