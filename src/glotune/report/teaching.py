"""Student against teacher: how the two answer the same texts, how large they are, and how fast."""

from __future__ import annotations

from dataclasses import dataclass

from glotune.errors import UserError
from glotune.report.analysis import RESAMPLING_SEED, averaged, mean_name, mean_of, ranked
from glotune.run.data import RunData
from glotune.run.records import Evaluation, Interval
from glotune.stats.bootstrap import paired_difference
from glotune.stats.resampling import Resampled, combine
from glotune.words import count, millions, named, percent, rate, size

METRIC = "macro_f1"


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
    drawn = {code: _difference(run, teacher, split, code, place) for place, code in enumerate(sorted(languages))}
    rows = [
        _paired(named(code) + (", source" if run.is_source(code) else ""), run.main[code], theirs[code], drawn[code])
        for code in languages
    ]
    told = averaged(languages, run.sources)
    if len(told) > 1:
        known = [each for code in sorted(told) if (each := drawn[code]) is not None]
        mean = combine(known, [1 / len(known)] * len(known)) if len(known) == len(told) else None
        means = [mean_of([found[code] for code in told]) for found in (run.main, theirs)]
        rows.append(_paired(f"Mean of the {mean_name(told, run.sources)}", means[0], means[1], mean))
    return rows


def _paired(name: str, student: Evaluation, teacher: Evaluation, found: Resampled | None) -> PairedScores:
    if found is None:
        return PairedScores(name, student, teacher)
    return PairedScores(name, student, teacher, found.estimate, found.interval())


def _difference(run: RunData, teacher: RunData, split: str, language: str, place: int) -> Resampled | None:
    """Student minus teacher; None where the predictions of either can't be read or are not of the same texts."""
    try:
        mine, theirs = run.outcomes(split, language), teacher.outcomes(split, language)
        return paired_difference(METRIC, mine, theirs, seed=RESAMPLING_SEED + place)
    except UserError:
        return None


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
    many = f"{len(names)} ({shown}), the mean of their probabilities" if len(names) > 1 else shown
    rows = [
        ("Teacher" if len(names) == 1 else "Teachers", many),
        (
            "Soft targets",
            f"temperature {spec.temperature:g}, weight {spec.weight:g}; weight of the labels {1 - spec.weight:g}",
        ),
    ]
    if record is not None:
        rows.append(("Unlabelled texts", count(record.unlabelled_texts)))
    return rows


def _short(path: str) -> str:
    """The last two parts of a path: a report is passed on, the folders above are the author's own."""
    return "/".join(path.rstrip("/").split("/")[-2:])
