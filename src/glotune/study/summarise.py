"""The report of a study: its claims answered, its variants compared, every run with its metrics and files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from glotune.errors import UserError
from glotune.evidence import (
    EXPORTS,
    Comparison,
    as_markdown,
    as_page_table,
    compare_runs,
    runs_table,
    variants_table,
)
from glotune.evidence.cells import ComparisonTable
from glotune.evidence.claims import ClaimAnswer
from glotune.recipe.loading import value_at
from glotune.recipe.space import axes_of
from glotune.recipe.study import PLAIN, StudyRecipe
from glotune.recipe.study_loading import FULL
from glotune.report.figures.model import FigureData
from glotune.report.figures.search import search_slices
from glotune.report.specification import encoder_name
from glotune.report.write import ReportFiles, write_report, write_study_report
from glotune.run.data import RunData, load_run
from glotune.run.directory import RunDirectory, write_atomically
from glotune.run.trials import read_search, read_trials
from glotune.study.directory import StudyDirectory
from glotune.study.evidence import answers
from glotune.study.execute import HOPELESS
from glotune.study.locked_plan import (
    LockedPlan,
    evidence_of,
    keep_look,
    level_of_look,
    level_of_next_look,
    read_plan,
)
from glotune.study.measures import measured
from glotune.study.out_of_fold import is_complete, pool_folds
from glotune.study.plan import StudyPlan
from glotune.study.search_tables import ORACLE, found_table, search_table
from glotune.study.tables import (
    claims_table,
    costs_table,
    folds_table,
    matrix_tables,
    plan_table,
    without_empty_columns,
)
from glotune.words import code, escaped


@dataclass(frozen=True)
class Summary:
    """What a study came to."""

    files: ReportFiles
    answers: tuple[ClaimAnswer, ...]
    tables: tuple[ComparisonTable, ...]
    notes: tuple[str, ...]
    """What could not be compared or answered, and why."""


def write_summary(plan: StudyPlan, failed: Mapping[str, str], directory: StudyDirectory) -> Summary:
    """Writes ``report/``: report.md, report.html, ``claims.json``, and each table as Markdown, CSV and LaTeX.

    Raises:
        UserError: no run is complete, or a run directory can't be read.
    """
    complete = [RunDirectory(directory.runs / run.name) for run in plan.runs]
    complete = [place for place in complete if is_complete(place)]
    if not complete:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(failed.items())[:3])
        raise UserError(f"no run of the study is complete ({reasons})", remedy=f"See {directory.logs}")
    _draw_missing(complete)
    results = _results(directory, complete)
    places = complete if plan.resolved.study.folds is None else pool_folds(plan, directory)
    # A variant is what the study says it is: a run that an older version wrote lacks keys that are new.
    runs = [replace(load_run(place), variant_name=_variant_of(place, plan)) for place in places]
    notes: list[str] = []
    comparison = _compared(plan, [*runs, *_diverged(plan, failed, directory)], notes)
    locked, evidence = read_plan(directory), evidence_of(complete)
    level = level_of_look(locked, evidence, plan.resolved.study.level)
    later = level_of_next_look(locked, evidence, plan.resolved.study.level)
    answered, withdrawn = _answered(plan, runs, results, failed, notes, (level, later), locked)
    if any(answer.p_value is not None for answer in (*answered, *withdrawn)):
        told = {answer.claim.name: answer.answer for answer in answered}
        told |= {f"{answer.claim.name} (withdrawn)": answer.answer for answer in withdrawn}
        keep_look(directory, [place.path.name for place in complete], evidence, level, told)
    named = _tables(plan, comparison, answered, results, complete, directory)
    named, pictures = _with_search(named, plan, runs, directory)
    named["plan"] = plan_table(read_plan(directory), withdrawn)
    write_exports(named, directory.report / "tables")
    write_claims(plan.resolved.study, answered, directory.report / "claims.json", level)
    notes += [f"{name} has no result: {reason}" for name, reason in failed.items()]
    files = write_study_report(
        directory.report,
        runs or [load_run(place) for place in complete],
        _title(plan),
        _markdown(plan, list(named.values()), answered, notes, directory),
        _page_tables(named, notes),
        pictures,
    )
    return Summary(files, answered, tuple(named.values()), tuple(notes))


def _variant_of(place: RunDirectory, plan: StudyPlan) -> str:
    """The variant of a run, or of the pooled folds of one, by the name of its folder."""
    seeds = plan.resolved.study.seeds
    known = {f"{variant}-seed{seed}": variant for variant in plan.resolved.variants for seed in seeds}
    return known[place.path.name]


def _diverged(plan: StudyPlan, failed: Mapping[str, str], directory: StudyDirectory) -> list[RunData]:
    """Runs that will never have scores: their variants are no better for having lost them."""
    return [
        replace(load_run(RunDirectory(directory.runs / run.name)), variant_name=run.variant)
        for run in plan.runs
        if failed.get(run.name, "").startswith(HOPELESS)
    ]


def _draw_missing(complete: list[RunDirectory]) -> None:
    """The reports of runs that were cut off between their end and their report."""
    for place in complete:
        if not (place.report / "report.html").exists():
            write_report(place)


def _results(directory: StudyDirectory, complete: list[RunDirectory]) -> dict[str, dict[str, Any]]:
    """Run -> costs; a run whose line was lost in a crash keeps what its events tell."""
    written = directory.read_results()
    return {place.path.name: written.get(place.path.name) or measured(place) for place in complete}


def _compared(plan: StudyPlan, runs: list[RunData], notes: list[str]) -> Comparison | None:
    study = plan.resolved.study
    if len(runs) < 2:
        notes.append(f"{len(runs)} run to compare: nothing is tested.")
        return None
    try:
        return compare_runs(runs, study.metric, language=study.language, reference=plan.resolved.reference)
    except UserError as error:
        notes.append(f"Not compared: {error}")
        return None


def _answered(
    plan: StudyPlan,
    runs: list[RunData],
    results: Mapping[str, Mapping[str, Any]],
    failed: Mapping[str, str],
    notes: list[str],
    levels: tuple[float, float],
    locked: LockedPlan | None,
) -> tuple[tuple[ClaimAnswer, ...], tuple[ClaimAnswer, ...]]:
    """The answers to the claims that stand, and to those that were withdrawn when runs were complete already.

    Args:
        levels: of this look and of the next one.
    """
    study = plan.resolved.study
    gone = [] if locked is None else locked.withdrawn
    if not (study.claims or gone) or not runs:
        return (), ()
    try:
        found = answers(plan, runs, results, failed, level=levels[0], next_level=levels[1], withdrawn=gone)
    except UserError as error:
        notes.append(f"The claims were not answered: {error}")
        return (), ()
    later = set() if locked is None else locked.added_later
    said = " It was stated when runs were complete already, so it may follow from their results."
    marked = [replace(each, reason=each.reason + said) if each.claim.name in later else each for each in found]
    return tuple(marked[: len(study.claims)]), tuple(marked[len(study.claims) :])


def _tables(
    plan: StudyPlan,
    comparison: Comparison | None,
    answered: tuple[ClaimAnswer, ...],
    results: dict[str, dict[str, Any]],
    complete: list[RunDirectory],
    directory: StudyDirectory,
) -> dict[str, ComparisonTable]:
    """File name -> table, in the order of the report."""
    found: dict[str, ComparisonTable] = {}
    if answered:
        found["claims"] = claims_table(plan.resolved.study.claims, answered)
    if comparison:
        found["variants"] = variants_table(comparison)
        matrices = matrix_tables(comparison.variants, comparison.metric, comparison.split)
        found |= {f"matrix-{number}": table for number, table in enumerate(matrices, start=1)}
    plans = [place.read_manifest().plan for place in complete[:1]]
    found["costs"] = costs_table(plan, results, plans[0].device if plans[0] else "cpu")
    if comparison:
        found["runs"] = without_empty_columns(runs_table(comparison, relative_to=directory.report))
        if plan.resolved.study.folds is not None:
            found["folds"] = folds_table(comparison, complete, directory.report)
    return found


def _with_search(
    named: dict[str, ComparisonTable], plan: StudyPlan, runs: list[RunData], directory: StudyDirectory
) -> tuple[dict[str, ComparisonTable], dict[str, FigureData]]:
    """The tables with those of the search after the claims, and its picture; as they are where nothing was searched."""
    study, record = plan.resolved.study, read_search(directory.search)
    if study.search is None or record is None:
        return named, {}
    trials, axes = read_trials(directory.search), axes_of(study.search)
    plain = plan.resolved.variants[PLAIN]
    epochs = None if any(axis.key in ("train", "train.epochs") for axis in axes) else plain.train.epochs
    place = Path(os.path.relpath(directory.search, directory.report))
    found = {
        **{name: table for name, table in named.items() if name == "claims"},
        "found": found_table(record, trials, runs, {axis.key: value_at(plain, axis.key) for axis in axes}),
        "search": search_table(record, trials, axes, epochs, place),
        **{name: table for name, table in named.items() if name != "claims"},
    }
    slices = search_slices(record, trials, axes)
    return found, {} if slices is None else {"search": slices}


def write_exports(tables: Mapping[str, ComparisonTable], folder: Path) -> None:
    """Each table in every export format."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        for ending, written in EXPORTS.items():
            write_atomically(folder / f"{name}.{ending}", written(table))


def write_claims(
    study: StudyRecipe, answered: tuple[ClaimAnswer, ...], path: Path, level_of_look: float | None = None
) -> None:
    """The claims and their answers for machines.

    Args:
        level_of_look: at which they were tested together, where earlier looks count; the study's otherwise.
    """
    content = {
        "study": study.name,
        "level": study.level,
        "level_of_look": study.level if level_of_look is None else level_of_look,
        "claims": [
            {"claim": claim.model_dump(mode="json"), "answer": _figures_of(answer)}
            for claim, answer in zip(study.claims, answered, strict=False)
        ],
    }
    write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _figures_of(answer: ClaimAnswer) -> dict[str, Any]:
    """The answer as JSON has it: of an interval that is open above, null as its end."""
    interval = None if answer.interval is None else answer.interval.model_dump()
    if interval is not None and math.isinf(interval["high"]):
        interval["high"] = None
    return asdict(answer) | {"claim": answer.claim.name, "interval": interval}


def _page_tables(named: Mapping[str, ComparisonTable], notes: list[str]) -> list[dict[str, Any]]:
    """All tables for the page; what could not be compared or answered stands below the first."""
    tables = [as_page_table(table) for table in named.values()]
    tables[0]["notes"] += notes
    return tables


def _markdown(
    plan: StudyPlan,
    tables: list[ComparisonTable],
    answered: tuple[ClaimAnswer, ...],
    notes: list[str],
    directory: StudyDirectory,
) -> str:
    study, scale = plan.resolved.study, plan.resolved.scale
    about = study.scales[scale].description if scale in study.scales else ""
    parts = [f"# {escaped(_title(plan))}\n"]
    parts += [f"{escaped(text)}\n" for text in (study.description, _scale_words(scale, about)) if text]
    if answered:
        parts.append("## What was expected, and what was found\n")
        parts += [f"- **{answer.answer}**: {escaped(claim.name)}. {escaped(answer.reason)}"
                  for claim, answer in zip(study.claims, answered, strict=True)]  # fmt: skip
        parts.append("")
    parts.append("## Results\n")
    parts += [as_markdown(table) for table in tables]
    if notes:
        parts += ["## Notices\n", *(f"- {escaped(note)}" for note in notes), ""]
    parts += ["## How it was made\n", _method(plan), ""]
    parts.append("Interactive, with every run, language and mistake: [report.html](report.html).\n")
    parts.append(f"Go on with it, or write this report again: {code(f'glotune study {directory.path}')}\n")
    return "\n".join(parts)


def _title(plan: StudyPlan) -> str:
    """The study's title with the encoders that ran: a scale or the command line may name others than the title does."""
    study, scale = plan.resolved.study, plan.resolved.scale
    encoders = ", ".join(dict.fromkeys(encoder_name(run.recipe.model.name) for run in plan.runs))
    return f"{study.title or study.name} (on {encoders}{'' if scale == FULL else f', scale {scale}'})"


def _scale_words(scale: str, description: str) -> str:
    if scale == FULL:
        return description
    return f"Scale: {scale}. {description}".strip()


def _method(plan: StudyPlan) -> str:
    study = plan.resolved.study
    seeds = ", ".join(map(str, study.seeds))
    text = (
        f"{len(plan.resolved.variants)} variants, seeds {seeds}: {len(plan.runs)} runs, each in a process of its own."
    )
    if study.search is not None:
        text += " Before them a search chose what 'winner' is, by validation alone."
        text += f" {ORACLE}" if study.search.on == "target" else ""
    if study.folds is not None:
        text += (
            f" {study.folds}-fold cross-validation, stratified by label and language, exact duplicates in one fold; "
            "scores are over the out-of-fold predictions of all folds together (`out_of_fold/`). Texts in languages "
            "that are not trained on are shared out among the folds' models, one prediction each."
        )
    text += " Validation chose each checkpoint, and with it the final test scores; no run chooses anything by its test."
    if any(run.recipe.evaluate.test != "never" for run in plan.runs):
        text += " The test texts are scored in training too, with the weights as they are then (evaluate.test)."
    return text
