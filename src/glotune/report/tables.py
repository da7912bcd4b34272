"""The tables of a report: scores by language, classes, gaps, data, leaks, each as strings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from glotune.recipe.kinds import TaskName
from glotune.report.analysis import label_gaps, ranked
from glotune.report.audit import LeakEffect
from glotune.report.baselines import baseline_rows, columns_of
from glotune.report.scores import bracketed, number, signed, with_interval
from glotune.report.teaching import paired_scores
from glotune.report.thin_classes import FEWEST_TEXTS, MARK, is_thin
from glotune.run.data import RunData
from glotune.run.metrics import averaged
from glotune.run.records import Evaluation
from glotune.stats.arrays import Outcomes
from glotune.stats.calibration import chance_error
from glotune.stats.traits import trait
from glotune.stats.transfer import Transfer
from glotune.words import NOTHING, count, named, percent, plain

PER_CLASS: dict[TaskName, tuple[str, ...]] = {
    "single_label": ("support", "precision", "recall", "f1"),
    "multi_label": ("annotated", "support", "precision", "recall", "f1", "average_precision"),
    "score": ("n", "pearson", "spearman", "kappa", "rmse", "mae"),
}
"""Of each class, label or score: the columns of the table below the pictures."""


_COUNTS = {"support": "n", "n": "n", "annotated": "Annotated"}


@dataclass(frozen=True)
class Table:
    """Column names and rows of strings; columns of words are left-aligned, those of figures right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def is_numeric(self) -> tuple[bool, ...]:
        """Per column, whether all its cells begin with a figure or say that there is none; never the first."""
        return (False, *(all(_FIGURE.match(row[place]) for row in self.rows) for place in range(1, len(self.columns))))


_FIGURE = re.compile(r"(–|not known)$|[+-]?\d[\d,.]*($| )")


def gap_text(found: Transfer, value: float, low: float, high: float, sign: str = "") -> str:
    """``8.1 [3.0, 13.2]``; of a metric that is no share with three digits."""
    digits = 1 if found.unit == "points" else 3
    return f"{value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def unit_of(found: Transfer) -> str:
    """Of the gaps, with a blank before it; empty for a metric that is no share."""
    return f" {found.unit}" if found.unit else ""


def results(run: RunData, split: str, mean: tuple[str, Evaluation] | None) -> Table:
    """Scores of a split by language, the best first, and their mean."""
    evaluations = run.evaluations[split]
    order = [code for code in ranked(run) if code in evaluations] + [
        code for code in evaluations if code not in run.main
    ]
    floors, rows = ece_floors(run, split), []
    for language in order:
        each = evaluations[language]
        name = named(language) + (", source" if run.is_source(language) else "")
        rows.append((name, count(each.n), *_cells(run, each, floors.get(language), is_thin(each, run.manifest.labels))))
    if mean:
        codes = averaged(evaluations, run.sources)
        known = [floors[code] for code in codes if code in floors]
        thin = any(is_thin(evaluations[code], run.manifest.labels) for code in codes)
        rows.append(
            (mean[0], count(mean[1].n), *_cells(run, mean[1], sum(known) / len(known) if known else None, thin))
        )
    names = [LOSS_OF_SCORES if name == "loss" and run.kind.name == "score" else _column_of(name)
             for name in told_of(run, split)]  # fmt: skip
    metric = tuned_for(run)
    if metric is not None:
        names.append(f"{_column_of(metric)}: most probable class")
        plain = without_thresholds(run, split, metric)
        told = [plain[code] for code in averaged(evaluations, run.sources) if code in plain]
        values = [*(plain.get(code) for code in order), sum(told) / len(told) if told else None]
        rows = [(*row, number(metric, value)) for row, value in zip(rows, values, strict=False)]
    return Table(("Language", "n", *names), tuple(rows))


def tuned_for(run: RunData) -> str | None:
    """The metric that thresholds of classes were tuned for; None where the most probable class is answered."""
    return None if run.manifest.decision is None else run.manifest.decision.tuned_for


def without_thresholds(run: RunData, split: str, metric: str) -> dict[str, float]:
    """Language -> the metric had the most probable class been answered; of readable predictions."""
    found = {language: classes(run, split, language) for language in run.evaluations[split]}
    values = {language: each.by_probability().values()[metric] for language, each in found.items() if each is not None}
    return {language: value for language, value in values.items() if value is not None}


def classes(run: RunData, split: str, language: str) -> Outcomes | None:
    """What was answered there, where each text is of one class and its records are readable."""
    table = run.predictions(split, language)
    found = None if table is None or not len(table) or not table.outcomes.is_finite else table.outcomes
    return found if isinstance(found, Outcomes) else None


def told_of(run: RunData, split: str) -> list[str]:
    """The metrics of the task that exist here: agreement only of scores that are levels."""
    evaluations = run.evaluations[split].values()
    return [name for name in run.kind.told if any(each.scores.get(name) is not None for each in evaluations)] or [
        run.kind.metric
    ]


LOSS_OF_SCORES = "Loss, share of variance"
"""The squared error of scores, in units of their variance over the training texts."""


def _column_of(metric: str) -> str:
    """``Macro-F1, %``, ``ECE, points``, ``Loss, nats``."""
    if metric == "ece":
        return "ECE, points"
    known = trait(metric)
    unit = "%" if known.is_percent else known.unit
    return f"{known.display}, {unit}" if unit else known.display


def _cells(run: RunData, each: Evaluation, floor: float | None, thin: bool) -> list[str]:
    """Of one row; the calibration error beside the one that chance alone gives, macro scores that a class of few texts
    enters marked.
    """
    told = told_of(run, each.split)
    cells = [
        with_interval(each, metric) + (f" {MARK}" if thin and trait(metric).average == "macro" else "")
        for metric in told
    ]
    if floor is not None:
        cells[told.index("ece")] += f" ({number('ece', floor)})"
    return cells


def ece_floors(run: RunData, split: str) -> dict[str, float]:
    """Language -> the calibration error that a perfectly calibrated model would show; of readable predictions."""
    tables = {language: run.predictions(split, language) for language in run.evaluations[split]}
    stated = {
        language: table.outcomes.stated()
        for language, table in tables.items()
        if table is not None and len(table) and table.outcomes.is_finite
    }
    return {language: chance_error(each) for language, each in stated.items() if each is not None}


def baselines(run: RunData) -> Table | None:
    """Cheap models beside the run on the same texts; None where there are none."""
    if run.baselines is None or run.baselines.left_out is not None or not run.main:
        return None
    return Table(
        columns_of(run), tuple(baseline_rows(run, run.baselines, [code for code in ranked(run) if code in run.main]))
    )


def per_class(run: RunData) -> Table | None:
    """What is told of each class, label or score."""
    columns = PER_CLASS[run.kind.name]
    rows = [
        (
            named(language),
            label + (f" {MARK}" if scores.get("support", FEWEST_TEXTS) < FEWEST_TEXTS else ""),
            *[
                count(scores.get(name)) if name in ("support", "annotated", "n") else number(name, scores.get(name))
                for name in columns
            ],
        )
        for language in ranked(run)
        for label, scores in run.main[language].per_class.items()
    ]
    names = [_COUNTS.get(name) or _column_of(name) for name in columns]
    return Table(("Language", run.kind.named.capitalize(), *names), tuple(rows)) if rows else None


def transfer_table(run: RunData, found: Transfer) -> Table:
    """Each target language with its gap and what its texts are to the tokenizer, the widest gap first."""
    rows = []
    for gap in sorted(found.gaps, key=lambda each: -each.points):
        profile = run.data.of(str(run.main_split), gap.language)
        rows.append(
            (
                named(gap.language),
                number(found.metric, gap.score),
                gap_text(found, gap.points, gap.interval.low, gap.interval.high, "+"),
                NOTHING if profile.fertility is None else f"{profile.fertility:.2f}",
                percent(profile.unknown_token_rate, 2),
                percent(profile.truncation_rate),
            )
        )
    return Table(
        (
            "Target language",
            _column_of(found.metric),
            f"Gap{',' * bool(found.unit)}{unit_of(found)}",
            "Tokens per word",
            "Unknown tokens",
            "Truncated texts",
        ),
        tuple(rows),
    )


def transfer_by_label(run: RunData) -> Table | None:
    """Of several labels, how each carries over; None with one label a text."""
    rows = [
        (
            each.label,
            count(each.languages),
            number("f1", each.source),
            signed("f1", each.gap, each.interval),
        )
        for each in sorted(label_gaps(run), key=lambda each: -each.gap)
    ]
    columns = ("Label", "Target languages with it", "F1 on the source, %", "Gap, points")
    return Table(columns, tuple(rows)) if rows else None


def against_teacher(run: RunData) -> Table | None:
    """Student and teacher on the same texts; None without a teacher."""
    metric, rows = run.kind.metric, []
    for each in paired_scores(run):
        scores = (with_interval(each.student, metric), with_interval(each.teacher, metric))
        rows.append((each.name, count(each.student.n), *scores, signed(metric, each.difference, each.interval)))
    unit, of_difference = (", %", ", points") if trait(metric).is_percent else ("", "")
    columns = ("Language", "n", f"Student{unit}", f"Teacher{unit}", f"Difference{of_difference}")
    return Table(columns, tuple(rows)) if rows else None


def data_table(run: RunData) -> Table | None:
    """Each split and language: rows, labels, tokens, duplicates, leaks."""
    rows = []
    for split, languages in run.data.splits.items():
        for language, each in languages.items():
            labels = ", ".join(f"{name} {number_of:,}" for name, number_of in each.label_counts.items())
            tokens = NOTHING if each.mean_tokens is None else f"{each.mean_tokens:.1f}"
            fertility = NOTHING if each.fertility is None else f"{each.fertility:.2f}"
            rows.append(
                (split, named(language), count(each.rows), labels, tokens, fertility, percent(each.truncation_rate),
                 count(each.duplicate_rows), count(len(run.data.leaked.get(split, {}).get(language, ()))))
            )  # fmt: skip
    columns = (
        "Split",
        "Language",
        "Rows",
        "Labels",
        "Tokens, mean",
        "Tokens per word",
        "Truncated",
        "Duplicates",
        "Leaked",
    )
    return Table(columns, tuple(rows)) if rows else None


def leak_table(run: RunData, effects: list[LeakEffect]) -> Table | None:
    """Scores with and without the texts that stand in an earlier split too; None without any."""
    rows = []
    for each in effects:
        cells = []
        for metric in run.kind.pair:
            cells.append(with_interval(run.main[each.language], metric))
            left = each.without
            cells.append("not known" if left is None else bracketed(metric, left[metric], each.intervals.get(metric)))
        rows.append((named(each.language), f"{each.leaked:,} of {each.n:,}", *cells))
    names = [_column_of(metric) for metric in run.kind.pair]
    columns = [column for name in names for column in (f"{name}: all texts", f"{name}: without them")]
    return Table(("Language", "Leaked texts", *columns), tuple(rows)) if rows else None


def sources(run: RunData) -> Table | None:
    """Files that were read, with their hashes."""
    beside = [each for each in (run.manifest.distillation, run.manifest.self_training) if each is not None]
    files = [*run.manifest.data, *(source for each in beside for source in each.data)]
    rows = [(short(source.path), count(source.rows), source.sha256) for source in files]
    return Table(("File", "Rows", "SHA-256"), tuple(rows)) if rows else None


def short(path: str) -> str:
    """The last two parts of a path: a report is passed on, the folders above are the author's own."""
    return "/".join(path.rstrip("/").split("/")[-2:])


def choices(run: RunData) -> Table | None:
    """What ``glotune train auto`` chose, and why; None where nothing was."""
    rows = tuple(
        (
            each.key,
            "null" if each.value is None else plain(each.value),
            each.why,
            NOTHING if each.is_given else each.measured or "not measured",
        )
        for each in run.manifest.choices
    )
    return Table(("Key", "Value", "Why", "Shown in"), rows) if rows else None
