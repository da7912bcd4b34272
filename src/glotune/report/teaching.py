"""Student against teacher: how the two answer the same texts, how large they are, and how fast."""

from __future__ import annotations

from dataclasses import dataclass

from glotune.errors import UserError
from glotune.report.analysis import RESAMPLING_SEED, mean_of_run, ranked
from glotune.run.data import RunData
from glotune.run.metrics import averaged, mean_name
from glotune.run.records import Evaluation, Interval
from glotune.stats.bootstrap import paired_mean_difference
from glotune.words import count, millions, named, percent, rate, size


@dataclass(frozen=True)
class PairedScores:
    """One language, or the mean of several: both scores on the same texts, and student minus teacher."""

    name: str
    student: Evaluation
    teacher: Evaluation
    difference: float | None = None
    interval: Interval | None = None
    """95 %, over texts that are resampled for both together."""


def paired_scores(run: RunData) -> list[PairedScores]:
    """Source languages first, then targets from the student's best down, then the mean over the targets.

    Empty for a run without a teacher, or one that was not set beside it yet.
    """
    teacher, split = run.teacher, run.main_split
    if teacher is None or split is None:
        return []
    theirs = teacher.evaluations.get(split, {})
    languages = [code for code in ranked(run) if code in theirs]
    rows = [_paired(run, teacher, split, [code]) for code in languages]
    told = averaged(languages, run.sources)
    return [*rows, _paired(run, teacher, split, told)] if len(told) > 1 else rows


def _paired(run: RunData, teacher: RunData, split: str, languages: list[str]) -> PairedScores:
    """One language or the mean of several; no difference where records can't be read or are not of the same texts."""
    if len(languages) == 1:
        name = named(languages[0]) + (", source" if run.is_source(languages[0]) else "")
        student, theirs = (each.evaluations[split][languages[0]] for each in (run, teacher))
    else:
        name = f"Mean of the {mean_name(languages, run.sources)}"
        student, theirs = (mean_of_run(each, split, languages) for each in (run, teacher))
    try:
        answered = (run.answered(split, sorted(languages)), teacher.answered(split, sorted(languages)))
        found = paired_mean_difference(run.kind.metric, *answered, seed=RESAMPLING_SEED)
    except UserError:
        return PairedScores(name, student, theirs)
    return PairedScores(name, student, theirs, found.estimate, found.interval())


def costs(run: RunData) -> list[tuple[str, str]]:
    """Size and speed of both as rows of name and value; none without a comparison."""
    found = run.teacher_comparison
    if found is None:
        return []
    student, teacher, speed = found.student, found.teacher, found.wall
    share = student.parameters / teacher.parameters if teacher.parameters else None
    return [
        ("Parameters", f"{millions(student.parameters)} against {millions(teacher.parameters)} ({percent(share)})"),
        ("Files of weights", f"{size(student.bytes)} against {size(teacher.bytes)}"),
        (
            "Speed",
            f"{rate(speed.student, 'texts')} against {rate(speed.teacher, 'texts')} "
            f"({speed.student / speed.teacher:.2f} ×), {speed.device}, {speed.precision}, on these texts",
        ),
    ]


def teaching_rows(run: RunData) -> list[tuple[str, str]]:
    """Teachers and soft targets, for the table of the training configuration; none without a teacher."""
    if run.recipe is None or run.recipe.distill is None:
        return []
    spec, record = run.recipe.distill, run.manifest.distillation
    names = spec.teacher if record is None else [each.name for each in record.teachers]
    shown = ", ".join(_short(name) for name in names)
    is_scored = run.kind.name == "score"
    taught = "scores" if is_scored else "probabilities"
    many = f"{len(names)} ({shown}), the mean of their {taught}" if len(names) > 1 else shown
    tempered = "" if is_scored else f"temperature {spec.temperature:g}, "
    rows = [
        ("Teacher" if len(names) == 1 else "Teachers", many),
        ("Soft targets", f"{tempered}weight {spec.weight:g}; weight of the labels {1 - spec.weight:g}"),
    ]
    if record is not None:
        rows.append(("Unlabelled texts", count(record.unlabelled_texts)))
    return rows


def _short(path: str) -> str:
    """The last two parts of a path: a report is passed on, the folders above are the author's own."""
    return "/".join(path.rstrip("/").split("/")[-2:])
