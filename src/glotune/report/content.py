"""Everything that report.md says, put together once: tables of strings and sentences."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from glotune.recipe.kinds import TaskName
from glotune.report import self_training, sentences, specification, tables
from glotune.report.analysis import mean_row, transfer
from glotune.report.audit import Audit, audit, leak_effects
from glotune.report.baselines import note
from glotune.report.conditions import reservations
from glotune.report.scores import display
from glotune.report.specification import encoder_name
from glotune.report.tables import Table
from glotune.report.teaching import costs, teaching_rows
from glotune.run.data import RunData
from glotune.run.records import Evaluation

PER_CLASS_TITLES: dict[TaskName, str] = {
    "single_label": "Precision, recall and F1 of each class",
    "multi_label": "Precision, recall and F1 of each label",
    "score": "Correlations and errors of each score",
}


@dataclass(frozen=True)
class ReportContent:
    """The whole report but its pictures."""

    run: RunData
    title: str
    headline: str
    results: dict[str, Table]
    """split -> scores by language."""
    means: dict[str, tuple[str, Evaluation]]
    """split -> name and scores of the mean over its languages; without the splits of a single one."""
    baselines: Table | None
    """Cheap models on the same texts."""
    baselines_note: str
    per_class: Table | None
    per_class_title: str
    reading: str
    """How the results are to be read, beside their intervals."""
    metric_named: str
    """The metric of the task at the head of a sentence."""
    transfer: Table | None
    transfer_by_label: Table | None
    """Of several labels, which of them carry over."""
    transfer_note: str
    against_teacher: Table | None
    against_teacher_costs: specification.Rows
    rounds: Table | None
    """Of self-training."""
    rounds_note: str
    pseudo_labels: Table | None
    """Of each round, by language and label."""
    selection: str
    model: specification.Rows
    training: specification.Rows
    choices: Table | None
    """What ``glotune train auto`` chose, and why."""
    cost: specification.Rows
    machine: specification.Rows
    data: Table | None
    leaks: Table | None
    sources: Table | None
    audit: Audit
    command: str
    notices: tuple[str, ...]


def gather(run: RunData) -> ReportContent:
    """Puts a report together; sections without data are empty."""
    found, leaked = transfer(run), leak_effects(run)
    rows = {split: mean_row(run, split) for split, evaluations in run.evaluations.items() if evaluations}
    means = {split: row for split, row in rows.items() if row is not None}
    return ReportContent(
        run=run,
        title=titled(run),
        headline=" ".join([sentences.headline(run, found), *sentences.leaks_in_short(leaked), *reservations(run)]),
        results={
            split: tables.results(run, split, means.get(split))
            for split in ("test", "validation")
            if run.evaluations.get(split)
        },
        means=means,
        baselines=tables.baselines(run),
        baselines_note="" if run.baselines is None or not run.main else note(run, run.baselines),
        per_class=tables.per_class(run),
        per_class_title=PER_CLASS_TITLES[run.kind.name],
        reading=sentences.reading(run),
        metric_named=display(run.kind.metric),
        transfer=tables.transfer_table(run, found) if found else None,
        transfer_by_label=tables.transfer_by_label(run),
        transfer_note=sentences.transfer_note(run, found) if found else "",
        against_teacher=tables.against_teacher(run),
        against_teacher_costs=costs(run),
        rounds=self_training.rounds(run),
        rounds_note=self_training.note(run),
        pseudo_labels=self_training.selected(run),
        selection=specification.selection(run),
        model=specification.model_rows(run),
        training=[*teaching_rows(run), *self_training.training_rows(run), *specification.training_rows(run)],
        choices=tables.choices(run),
        cost=specification.cost_rows(run),
        machine=specification.machine_rows(run),
        data=tables.data_table(run),
        leaks=tables.leak_table(run, leaked),
        sources=tables.sources(run),
        audit=audit(run),
        command=shlex.join(run.manifest.command),
        notices=tuple(sentences.notices(run)),
    )


def titled(run: RunData) -> str:
    """``xlmr-6-layers on glotune-nano``: a recipe's name may speak of another encoder than the one that ran."""
    return f"{run.name} on {encoder_name(run.recipe.model.name)}" if run.recipe else run.name
