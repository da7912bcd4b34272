"""Everything that report.md says, put together once: tables of strings and sentences."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from glotune.report import specification
from glotune.report.analysis import averaged, belonging, mean_name, mean_of_run, mean_row, ranked, transfer
from glotune.report.audit import LEAK_METRICS, Audit, LeakEffect, audit, leak_effects
from glotune.report.baselines import COLUMNS, baseline_rows, note
from glotune.report.conditions import reservations
from glotune.report.scores import bracketed, display, number, with_interval
from glotune.report.specification import encoder_name
from glotune.report.thin_classes import FEWEST_TEXTS, MARK, about_thin_classes, is_thin
from glotune.run.data import RunData
from glotune.run.records import Evaluation
from glotune.stats.calibration import chance_error
from glotune.stats.transfer import Transfer
from glotune.words import NOTHING, count, language_name, named, percent, plain

RESULT_METRICS = ("accuracy", "macro_f1", "weighted_f1", "mcc", "roc_auc", "ece", "loss")
RESULT_NAMES = (
    "Accuracy, %",
    "Macro-F1, %",
    "Weighted-F1, %",
    "MCC",
    "ROC AUC, %",
    "ECE, points",
    "Loss, nats",
)


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
    transfer: Table | None
    transfer_note: str
    selection: str
    model: specification.Rows
    training: specification.Rows
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
        baselines_note="" if run.baselines is None or not run.main else note(run.baselines),
        per_class=_per_class(run),
        transfer=_transfer_table(run, found) if found else None,
        transfer_note=_transfer_note(run, found) if found else "",
        selection=specification.selection(run),
        model=specification.model_rows(run),
        training=specification.training_rows(run),
        cost=specification.cost_rows(run),
        machine=specification.machine_rows(run),
        data=_data_table(run),
        leaks=_leak_table(run, leaked),
        sources=_sources(run),
        audit=audit(run),
        command=shlex.join(run.manifest.command),
        notices=tuple(_notices(run)),
    )


def titled(run: RunData) -> str:
    """``xlmr-6-layers on glotune-nano``: a recipe's name may speak of another encoder than the one that ran."""
    return f"{run.name} on {encoder_name(run.recipe.model.name)}" if run.recipe else run.name


def headline(run: RunData, found: Transfer | None) -> str:
    """One sentence with the result that the run is about."""
    if not run.main:
        return f"The run is {run.manifest.status.value}: nothing was evaluated on a kept checkpoint yet."
    told = averaged(run.main, run.sources)
    text = f"Macro-F1 {_macro_f1(run, told)} ({run.main_split}){_lowest(run, told)}"
    if run.manifest.verdict and not run.manifest.verdict.is_sound:
        return (
            f"{text}, but the run {run.manifest.verdict.as_verb}: its scores, and differences from them, mean nothing."
        )
    sources = [code for code in run.sources if code in run.main and code not in told]
    if sources:
        text += f"; {_macro_f1(run, sources)}, the source{'s' if len(sources) > 1 else ''}"
    if found and found.average_points is not None and found.average_interval is not None:
        low, high = found.average_interval.low, found.average_interval.high
        text += f"; transfer gap {found.average_points:.1f} [{low:.1f}, {high:.1f}] points"
    return text + "."


def _macro_f1(run: RunData, languages: list[str]) -> str:
    """``61.2 [58.0, 64.3] on Bangla (bn)``, or the mean of several."""
    if len(languages) == 1:
        return f"{with_interval(run.main[languages[0]], 'macro_f1')} on {named(languages[0])}"
    mean = mean_of_run(run, str(run.main_split), languages)
    return f"{with_interval(mean, 'macro_f1')} on average over {mean_name(languages, run.sources)}"


def _lowest(run: RunData, languages: list[str]) -> str:
    """The language that a mean hides the most."""
    known = {code: value for code in languages if (value := run.main[code].scores.get("macro_f1")) is not None}
    if len(known) < 2:
        return ""
    worst = min(known, key=lambda code: known[code])
    return f", lowest on {named(worst)} with {with_interval(run.main[worst], 'macro_f1')}"


def _results(run: RunData, split: str, mean: tuple[str, Evaluation] | None) -> Table:
    evaluations = run.evaluations[split]
    order = [code for code in ranked(run) if code in evaluations] + [
        code for code in evaluations if code not in run.main
    ]
    floors, rows = ece_floors(run, split), []
    for language in order:
        each = evaluations[language]
        name = named(language) + (", source" if run.is_source(language) else "")
        cells = _cells(each, floors.get(language), is_thin(run, split, language))
        rows.append((name, count(each.n), *cells))
    if mean:
        told = averaged(evaluations, run.sources)
        known = [floors[code] for code in told if code in floors]
        floor = sum(known) / len(known) if known else None
        rows.append(
            (mean[0], count(mean[1].n), *_cells(mean[1], floor, any(is_thin(run, split, code) for code in told)))
        )
    return Table(("Language", "n", *RESULT_NAMES), tuple(rows))


def _cells(each: Evaluation, floor: float | None, thin: bool) -> list[str]:
    """Of one row; macro scores that a class of few texts enters marked, the calibration error beside that of chance."""
    cells = [
        with_interval(each, metric) + (f" {MARK}" if thin and metric in ("macro_f1", "roc_auc") else "")
        for metric in RESULT_METRICS
    ]
    if floor is not None:
        cells[RESULT_METRICS.index("ece")] += f" ({number('ece', floor)})"
    return cells


def ece_floors(run: RunData, split: str) -> dict[str, float]:
    """Language -> the calibration error that a perfectly calibrated model would show; of readable predictions."""
    tables = {language: run.predictions(split, language) for language in run.evaluations[split]}
    return {
        language: chance_error(table.outcomes)
        for language, table in tables.items()
        if table is not None and len(table) and table.outcomes.is_finite
    }


def _baselines(run: RunData) -> Table | None:
    if run.baselines is None or run.baselines.left_out is not None or not run.main:
        return None
    return Table(COLUMNS, tuple(baseline_rows(run, run.baselines, [code for code in ranked(run) if code in run.main])))


def _per_class(run: RunData) -> Table | None:
    rows = [
        (
            named(language),
            label + (f" {MARK}" if scores.get("support", FEWEST_TEXTS) < FEWEST_TEXTS else ""),
            count(scores.get("support")),
            *[number(name, scores.get(name)) for name in ("precision", "recall", "f1")],
        )
        for language in ranked(run)
        for label, scores in run.main[language].per_class.items()
    ]
    return Table(("Language", "Class", "n", "Precision, %", "Recall, %", "F1, %"), tuple(rows)) if rows else None


def _transfer_table(run: RunData, found: Transfer) -> Table:
    rows = []
    for gap in sorted(found.gaps, key=lambda each: -each.points):
        profile = run.data.of(str(run.main_split), gap.language)
        rows.append(
            (
                named(gap.language),
                number(found.metric, gap.score),
                f"{gap.points:+.1f} [{gap.interval.low:+.1f}, {gap.interval.high:+.1f}]",
                NOTHING if profile.fertility is None else f"{profile.fertility:.2f}",
                percent(profile.unknown_token_rate, 2),
                percent(profile.truncation_rate),
            )
        )
    return Table(
        ("Target language", "Macro-F1, %", "Gap, points", "Tokens per word", "Unknown tokens", "Truncated texts"),
        tuple(rows),
    )


def _transfer_note(run: RunData, found: Transfer) -> str:
    names = ", ".join(map(language_name, found.source_languages))
    text = f"Gap = macro-F1 on {names} ({number(found.metric, found.source_score)} %) minus macro-F1 on the target."
    verdict = run.manifest.verdict
    if verdict and not verdict.is_sound:
        return f"The run {verdict.as_verb}: these gaps mean nothing. {text}"
    if found.average_points is not None and found.average_interval is not None and len(found.gaps) > 1:
        low, high = found.average_interval.low, found.average_interval.high
        text += f" Average {found.average_points:.1f} [{low:.1f}, {high:.1f}] points."
    if found.worst_language and found.worst_share is not None and len(found.gaps) > 1:
        text += (
            f" Widest for {named(found.worst_language)}, which stays the worst in {100 * found.worst_share:.0f} % of "
            "bootstrap resamples."
        )
    if found.undefined:
        text += f" Undefined for {', '.join(map(named, found.undefined))}."
    return text


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
        for metric in LEAK_METRICS:
            cells.append(with_interval(run.main[each.language], metric))
            left = each.without
            cells.append("not known" if left is None else bracketed(metric, left[metric], each.intervals.get(metric)))
        rows.append((named(each.language), f"{each.leaked:,} of {each.n:,}", *cells))
    names = [display(metric) for metric in LEAK_METRICS]
    columns = [column for name in names for column in (f"{name}, %: all texts", f"{name}, %: without them")]
    return Table(("Language", "Leaked texts", *columns), tuple(rows)) if rows else None


def _sources(run: RunData) -> Table | None:
    rows = [(_short(source.path), count(source.rows), source.sha256) for source in run.manifest.data]
    return Table(("File", "Rows", "SHA-256"), tuple(rows)) if rows else None


def _short(path: str) -> str:
    """The last two parts of a path: a report is passed on, the folders above are the author's own."""
    return "/".join(path.rstrip("/").split("/")[-2:])


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
