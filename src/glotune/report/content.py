"""Everything that report.md says, put together once: tables of strings and sentences."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from glotune.recipe.kinds import TaskName
from glotune.report import self_training, specification
from glotune.report.analysis import belonging, label_gaps, mean_of_run, mean_row, ranked, transfer
from glotune.report.audit import Audit, LeakEffect, audit, leak_effects
from glotune.report.baselines import baseline_rows, columns_of, note
from glotune.report.conditions import reservations
from glotune.report.scores import bracketed, display, in_a_sentence, number, with_interval
from glotune.report.specification import encoder_name
from glotune.report.teaching import METRIC, costs, paired_scores, teaching_rows
from glotune.report.thin_classes import FEWEST_TEXTS, MARK, about_thin_classes, is_thin
from glotune.run.data import RunData
from glotune.run.metrics import averaged, mean_name
from glotune.run.records import Evaluation
from glotune.stats.arrays import Outcomes
from glotune.stats.calibration import chance_error
from glotune.stats.traits import trait
from glotune.stats.transfer import Transfer
from glotune.words import NOTHING, count, language_name, named, percent, plain

PER_CLASS: dict[TaskName, tuple[str, ...]] = {
    "single_label": ("support", "precision", "recall", "f1"),
    "multi_label": ("annotated", "support", "precision", "recall", "f1", "average_precision"),
    "score": ("n", "pearson", "spearman", "kappa", "rmse", "mae"),
}
"""Of each class, label or score: the columns of the table below the pictures."""
PER_CLASS_TITLES: dict[TaskName, str] = {
    "single_label": "Precision, recall and F1 of each class",
    "multi_label": "Precision, recall and F1 of each label",
    "score": "Correlations and errors of each score",
}
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
        headline=headline(run, found) + _leaks_in_short(leaked) + "".join(f" {each}" for each in reservations(run)),
        results={
            split: _results(run, split, means.get(split))
            for split in ("test", "validation")
            if run.evaluations.get(split)
        },
        means=means,
        baselines=_baselines(run),
        baselines_note="" if run.baselines is None or not run.main else note(run, run.baselines),
        per_class=_per_class(run),
        per_class_title=PER_CLASS_TITLES[run.kind.name],
        reading=_reading(run),
        metric_named=display(run.kind.metric),
        transfer=_transfer_table(run, found) if found else None,
        transfer_by_label=_label_gaps(run),
        transfer_note=_transfer_note(run, found) if found else "",
        against_teacher=_teacher_table(run),
        against_teacher_costs=costs(run),
        rounds=_as_table(self_training.rounds(run)),
        rounds_note=self_training.note(run),
        pseudo_labels=_as_table(self_training.selected(run)),
        selection=specification.selection(run),
        model=specification.model_rows(run),
        training=[*teaching_rows(run), *self_training.training_rows(run), *specification.training_rows(run)],
        choices=_choices(run),
        cost=specification.cost_rows(run),
        machine=specification.machine_rows(run),
        data=_data_table(run),
        leaks=_leak_table(run, leaked),
        sources=_sources(run),
        audit=audit(run),
        command=shlex.join(run.manifest.command),
        notices=tuple(_notices(run)),
    )


def _as_table(found: tuple[tuple[str, ...], tuple[tuple[str, ...], ...]] | None) -> Table | None:
    return None if found is None else Table(*found)


def titled(run: RunData) -> str:
    """``xlmr-6-layers on glotune-nano``: a recipe's name may speak of another encoder than the one that ran."""
    return f"{run.name} on {encoder_name(run.recipe.model.name)}" if run.recipe else run.name


def headline(run: RunData, found: Transfer | None) -> str:
    """One sentence with the result that the run is about."""
    if not run.main:
        return f"The run is {run.manifest.status.value}: nothing was evaluated on a kept checkpoint yet."
    told = averaged(run.main, run.sources)
    text = f"{display(run.kind.metric)} {_score(run, told)} ({run.main_split}){_lowest(run, told)}"
    if run.manifest.verdict and not run.manifest.verdict.is_sound:
        return (
            f"{text}, but the run {run.manifest.verdict.as_verb}: its scores, and differences from them, mean nothing."
        )
    sources = [code for code in run.sources if code in run.main and code not in told]
    if sources:
        text += f"; {_score(run, sources)}, the source{'s' if len(sources) > 1 else ''}"
    if found and found.average_points is not None and found.average_interval is not None:
        low, high = found.average_interval.low, found.average_interval.high
        text += f"; transfer gap {gap_text(found, found.average_points, low, high)}{_unit(found)}"
    return text + "."


def gap_text(found: Transfer, value: float, low: float, high: float, sign: str = "") -> str:
    """``8.1 [3.0, 13.2]``; of a metric that is no share with three digits."""
    digits = 1 if found.unit == "points" else 3
    return f"{value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def _unit(found: Transfer) -> str:
    return f" {found.unit}" if found.unit else ""


def _score(run: RunData, languages: list[str]) -> str:
    """``61.2 [58.0, 64.3] on Bangla (bn)``, or the mean of several: the metric of the task."""
    metric = run.kind.metric
    if len(languages) == 1:
        return f"{with_interval(run.main[languages[0]], metric)} on {named(languages[0])}"
    mean = mean_of_run(run, str(run.main_split), languages)
    return f"{with_interval(mean, metric)} on average over {mean_name(languages, run.sources)}"


def _lowest(run: RunData, languages: list[str]) -> str:
    """The language that a mean hides the most."""
    known = {code: value for code in languages if (value := run.main[code].scores.get(run.kind.metric)) is not None}
    if len(known) < 2:
        return ""
    worst = min(known, key=lambda code: known[code])
    return f", lowest on {named(worst)} with {with_interval(run.main[worst], run.kind.metric)}"


def _results(run: RunData, split: str, mean: tuple[str, Evaluation] | None) -> Table:
    evaluations = run.evaluations[split]
    order = [code for code in ranked(run) if code in evaluations] + [
        code for code in evaluations if code not in run.main
    ]
    floors, rows = ece_floors(run, split), []
    for language in order:
        each = evaluations[language]
        name = named(language) + (", source" if run.is_source(language) else "")
        rows.append((name, count(each.n), *_cells(run, each, floors.get(language), is_thin(run, split, language))))
    if mean:
        codes = averaged(evaluations, run.sources)
        known = [floors[code] for code in codes if code in floors]
        thin = any(is_thin(run, split, code) for code in codes)
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
    found = {language: _classes(run, split, language) for language in run.evaluations[split]}
    values = {language: each.by_probability().values()[metric] for language, each in found.items() if each is not None}
    return {language: value for language, value in values.items() if value is not None}


def _classes(run: RunData, split: str, language: str) -> Outcomes | None:
    """What was answered there, where each text is of one class and its records are readable."""
    table = run.predictions(split, language)
    found = None if table is None or not len(table) or not table.outcomes.is_finite else table.outcomes
    return found if isinstance(found, Outcomes) else None


def _about_votes(run: RunData) -> str:
    """How what annotators said is told; empty where texts have labels alone."""
    if run.main_split is None:
        return ""
    found = [_classes(run, str(run.main_split), language) for language in run.main]
    known = [each for each in found if each is not None and each.votes_BC is not None]
    if not known:
        return ""
    texts, tied = sum(each.num_texts for each in known), sum(each.tied for each in known)
    ties = (
        f"Of {texts:,} texts {tied:,} are tied: their label is the one of these that data.columns.votes names first. "
    )
    return (
        "The label of a text is the class that most of its annotators voted for; the loss is cross-entropy against the "
        "distribution of their votes. Agreement with votes is how many of a text's annotators voted for the answer. "
        "What it can be held against is the annotators' agreement: how many voted as most of the others of the same "
        f"text, each left out in turn. {ties * (tied > 0)}"
    )


def _reading(run: RunData) -> str:
    """What the figures in parentheses are, and how texts were answered and counted."""
    said = ""
    if "ece" in run.kind.told:
        said = "In parentheses behind the ECE: what a perfectly calibrated model would show on so many texts. "
    return said + answering(run)


def answering(run: RunData) -> str:
    """How texts were labelled, answered and counted, where that is no matter of course; else nothing."""
    said = ""
    decision = run.manifest.decision
    if decision is not None and decision.fitted_on:
        thresholds = zip(run.manifest.labels, decision.thresholds, strict=True)
        told = ", ".join(f"{label} {threshold:.2f}" for label, threshold in thresholds)
        rule = (
            f"A label is answered from its own probability on ({told}), with the best F1"
            if decision.tuned_for is None
            else f"The class is answered whose probability is highest beside its threshold ({told}), with the best "
            f"{in_a_sentence(decision.tuned_for)}"
        )
        said += (
            f"{rule} on the validation texts in {', '.join(decision.fitted_on)}; these themselves are answered by what "
            "four other fifths of them fit. "
        )
    return said + _about_votes(run) + _about_weights(run)


def _about_weights(run: RunData) -> str:
    if run.recipe is None or not run.recipe.data.weighted_metrics:
        return ""
    return (
        f"Metrics and intervals weigh each text by the column '{run.recipe.data.columns.weight}' "
        "(data.weighted_metrics); confusion matrices, curves and the verdict count each text once. "
    )


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


def _baselines(run: RunData) -> Table | None:
    if run.baselines is None or run.baselines.left_out is not None or not run.main:
        return None
    return Table(
        columns_of(run), tuple(baseline_rows(run, run.baselines, [code for code in ranked(run) if code in run.main]))
    )


def _per_class(run: RunData) -> Table | None:
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


def _transfer_table(run: RunData, found: Transfer) -> Table:
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
            f"Gap{',' * bool(found.unit)}{_unit(found)}",
            "Tokens per word",
            "Unknown tokens",
            "Truncated texts",
        ),
        tuple(rows),
    )


def _label_gaps(run: RunData) -> Table | None:
    rows = [
        (
            each.label,
            count(each.languages),
            number("f1", each.source),
            f"{100 * each.gap:+.1f} [{100 * each.interval.low:+.1f}, {100 * each.interval.high:+.1f}]",
        )
        for each in sorted(label_gaps(run), key=lambda each: -each.gap)
    ]
    columns = ("Label", "Target languages with it", "F1 on the source, %", "Gap, points")
    return Table(columns, tuple(rows)) if rows else None


def _transfer_note(run: RunData, found: Transfer) -> str:
    names = ", ".join(map(language_name, found.source_languages))
    metric, share = in_a_sentence(found.metric), " %" * (found.unit == "points")
    text = (
        f"Gap = {metric} on {names} ({number(found.metric, found.source_score)}{share}) minus {metric} on the target."
    )
    verdict = run.manifest.verdict
    if verdict and not verdict.is_sound:
        return f"The run {verdict.as_verb}: these gaps mean nothing. {text}"
    if found.average_points is not None and found.average_interval is not None and len(found.gaps) > 1:
        low, high = found.average_interval.low, found.average_interval.high
        text += f" Average {gap_text(found, found.average_points, low, high)}{_unit(found)}."
    if found.worst_language and found.worst_share is not None and len(found.gaps) > 1:
        text += (
            f" Widest for {named(found.worst_language)}, which stays the worst in {100 * found.worst_share:.0f} % of "
            "bootstrap resamples."
        )
    if found.undefined:
        text += f" Undefined for {', '.join(map(named, found.undefined))}."
    return text


def _teacher_table(run: RunData) -> Table | None:
    rows = []
    for each in paired_scores(run):
        interval = each.interval
        points = NOTHING if each.difference is None else f"{100 * each.difference:+.1f}"
        bracket = "" if interval is None else f" [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
        scores = (with_interval(each.student, METRIC), with_interval(each.teacher, METRIC))
        rows.append((each.name, count(each.student.n), *scores, points + bracket))
    return Table(("Language", "n", "Student, %", "Teacher, %", "Difference, points"), tuple(rows)) if rows else None


def _data_table(run: RunData) -> Table | None:
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


def _leaks_in_short(effects: list[LeakEffect]) -> str:
    """A warning after the headline."""
    if not effects:
        return ""
    count_of, total = sum(each.leaked for each in effects), sum(each.n for each in effects)
    names = ", ".join(named(each.language) for each in effects[:3]) + (" and others" if len(effects) > 3 else "")
    return (
        f" Of the {total:,} test texts in {names}, {count_of:,} {'stands' if count_of == 1 else 'stand'} in an "
        "earlier split too: see the scores without them."
    )


def _leak_table(run: RunData, effects: list[LeakEffect]) -> Table | None:
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


def _sources(run: RunData) -> Table | None:
    beside = [each for each in (run.manifest.distillation, run.manifest.self_training) if each is not None]
    files = [*run.manifest.data, *(source for each in beside for source in each.data)]
    rows = [(_short(source.path), count(source.rows), source.sha256) for source in files]
    return Table(("File", "Rows", "SHA-256"), tuple(rows)) if rows else None


def _short(path: str) -> str:
    """The last two parts of a path: a report is passed on, the folders above are the author's own."""
    return "/".join(path.rstrip("/").split("/")[-2:])


def _choices(run: RunData) -> Table | None:
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


def _notices(run: RunData) -> list[str]:
    notices = [f"{each.kind.capitalize()} at step {each.step:,}: {each.message}" for each in run.history.notices]
    notices += [f"Deviation from the stored plan: {each}" for each in run.manifest.deviations]
    if run.main_split:
        notices += about_thin_classes(run, run.main_split, list(ranked(run)))
        notices += belonging(run, run.main_split, list(run.main))
    told = {each.message for each in run.history.notices}
    notices += [*run.manifest.notes, *(each for each in run.data.warnings if each not in told), *run.problems]
    for source in run.manifest.data:
        notices = [each.replace(source.path, _short(source.path)) for each in notices]
    return list(dict.fromkeys(plain(each) for each in notices))
