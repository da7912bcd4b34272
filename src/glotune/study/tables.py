"""The tables that only a study has: its claims, what its variants cost, and the source × target matrix."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from glotune.evidence import Comparison, runs_table
from glotune.evidence.cells import Cell, Column, ComparisonTable, display, shown, word
from glotune.evidence.claims import ClaimAnswer
from glotune.evidence.tables import p_text
from glotune.evidence.variants import Variant
from glotune.recipe.study import StudyClaim
from glotune.run.data import RunData, load_run
from glotune.run.directory import RunDirectory
from glotune.stats.contrasts import MOST_SEEDS
from glotune.stats.traits import trait
from glotune.stats.transfer import transfer_matrix
from glotune.study.evidence import Costs, costs_of
from glotune.study.locked_plan import LockedPlan
from glotune.study.plan import StudyPlan
from glotune.words import NOTHING, duration, millions, named, size

FARTHEST = 1000
"""Factor beyond which no more than that is said."""
FORMS = {
    "superior": "better by more than the margin",
    "non_inferior": "worse by at most the margin",
    "interaction": "a difference of differences above the margin",
}


def claims_table(claims: Sequence[StudyClaim], answers: Sequence[ClaimAnswer]) -> ComparisonTable:
    """One row a claim: what was expected, the answer, and the figures that it rests on."""
    columns = (
        Column("Claim", is_numeric=False),
        Column("Answer", is_numeric=False),
        Column("Metric", is_numeric=False),
        Column("Improvement", note="positive, or a factor above 1, is better"),
        Column("Interval", note="at the corrected level"),
        Column("Held against"),
        Column("p, corrected", note="Holm, over all claims"),
        Column("Seeds"),
        Column("More seeds to settle", note="of each variant"),
    )
    rows = tuple(_claim_row(claim, answer) for claim, answer in zip(claims, answers, strict=True))
    notes = (
        "A claim is supported when its whole interval lies beyond what it is held against, refuted when the whole "
        "interval lies short of it. Intervals are over seeds and texts, at the level at which Holm's method tested the "
        "claim. What no seed changes, such as a number of parameters, is compared without interval or p-value.",
        *(
            f"{claim.name}: {answer.reason}"
            for claim, answer in zip(claims, answers, strict=True)
            if answer.interval is None
        ),
    )
    return ComparisonTable("Claims", columns, rows, notes)


def _claim_row(claim: StudyClaim, answer: ClaimAnswer) -> tuple[Cell, ...]:
    interval = answer.interval
    if answer.more_seeds is None:
        more = NOTHING if interval is None else f"over {MOST_SEEDS}"
    else:
        more = f"about {answer.more_seeds}" if answer.more_seeds else "none"
    return (
        Cell(f"{claim.name} ({FORMS[claim.form]}: {' / '.join(claim.variants)})"),
        Cell(answer.answer, is_best=answer.answer == "supported"),
        word(display(claim.metric)),
        Cell(NOTHING) if answer.improvement is None else Cell(_amount(answer, answer.improvement), answer.improvement),
        Cell(NOTHING)
        if interval is None
        else Cell(f"{_amount(answer, interval.low)} to {_amount(answer, interval.high)}"),
        Cell(_amount(answer, answer.threshold) if answer.threshold else "0", answer.threshold),
        Cell(NOTHING)
        if answer.adjusted_p_value is None
        else Cell(p_text(answer.adjusted_p_value), answer.adjusted_p_value),
        Cell(" / ".join(map(str, answer.seeds))),
        Cell(more),
    )


def plan_table(locked: LockedPlan | None, withdrawn: Sequence[ClaimAnswer]) -> ComparisonTable:
    """What was planned before the first run, every change since with what was known then, and every look."""
    columns = tuple(Column(name, is_numeric=False) for name in ("When", "Runs complete", "What", "Before", "After"))
    if locked is None:
        note = "This study keeps no locked plan: whether its claims came before its runs can't be told."
        return ComparisonTable("Plan", columns, (), (note,))
    seeds = ", ".join(map(str, locked.content["seeds"]))
    rows = [
        (locked.locked, str(locked.runs), "plan locked", "", f"{len(locked.content['claims'])} claims, seeds {seeds}, "
         f"{locked.content['metric']}, level {locked.content['level']:g}, hash {locked.hash[:16]}"),
        *((each.time, str(each.runs), each.what, _briefly(each.before, each.after), _briefly(each.after, each.before))
          for each in locked.amendments),
        *((look.time, str(len(look.runs)), f"look {number} at the claims, at level {look.level:.4f}", "",
           "; ".join(f"{name}: {answer}" for name, answer in look.answers.items()))
          for number, look in enumerate(locked.looks, start=1)),
    ]  # fmt: skip
    notes = [
        "The first run locks the plan. Changes are allowed and stand here. A seed that is dropped after its runs were "
        "complete still counts; a claim that is withdrawn or changed then is still tested beside the others, while its "
        "variants are there.",
        "Looking again on more runs is another chance to be wrong: each look spends 80 % of the error that the looks "
        "before it left (alpha spending, Lan and DeMets 1983, with Bonferroni's bound over looks). The same runs again "
        "are no new look.",
        *(f"Withdrawn: {each.claim.name}. It would be {each.answer}: {each.reason}" for each in withdrawn),
    ]
    if locked.runs:
        late = (
            f"The plan came after results: {locked.runs} runs were complete when it was locked. Its claims may follow "
        )
        notes.insert(0, f"{late}from them, and looks before it are not counted.")
    rows = sorted(rows, key=lambda row: row[0])
    return ComparisonTable("Plan", columns, tuple(tuple(map(word, row)) for row in rows), tuple(notes))


def _briefly(value: Any, other: Any) -> str:
    """A value for a cell; of two mappings what differs."""
    if isinstance(value, dict) and isinstance(other, dict):
        value = {key: each for key, each in value.items() if other.get(key) != each}
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _amount(answer: ClaimAnswer, value: float) -> str:
    """A difference in points or the metric's unit, or a factor."""
    if answer.scale == "ratio":
        return factor(value)
    if answer.claim.trait.is_percent:
        return f"{100 * value:+.1f} points"
    return f"{value:+.3f}"


def factor(value: float) -> str:
    """``× 1.25``. Two seeds can leave a bound beyond all reason, whose digits would say nothing."""
    if value > FARTHEST:
        return f"over × {FARTHEST:,}"
    return f"under × {1 / FARTHEST}" if value < 1 / FARTHEST else f"× {value:.3g}"


def _seconds(value: float) -> str:
    return duration(value)


def _per_second(value: float) -> str:
    return f"{value:,.0f}"


_COSTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("train_seconds", "Time in steps", _seconds),
    ("cache_seconds", "Filling the prefix cache", _seconds),
    ("total_seconds", "Whole run", _seconds),
    ("texts_per_second", "Texts per second", _per_second),
    ("tokens_per_second", "Tokens per second", _per_second),
    ("peak_memory_bytes", "Peak memory", size),
    ("epochs", "Epochs trained", lambda value: f"{value:.1f}"),
    ("best_epoch", "Best epoch", lambda value: f"{value:.1f}"),
    ("trainable_parameters", "Trainable parameters", millions),
)


def costs_table(plan: StudyPlan, results: Costs, device: str) -> ComparisonTable:
    """One row a variant: the mean over its seeds of what a run cost."""
    rows = []
    for variant in plan.resolved.variants:
        known = [costs_of(plan, results, variant, seed) for seed in plan.resolved.study.seeds]
        cells = [Cell(variant)]
        for name, _, words in _COSTS:
            values = [cost[name] for cost in known if name in cost]
            mean = sum(values) / len(values) if values else None
            cells.append(Cell(NOTHING) if mean is None else Cell(words(mean), mean))
        rows.append(tuple(cells))
    columns = (Column("Variant", is_numeric=False), *(Column(title) for _, title, _ in _COSTS))
    jobs = {int(line["jobs"]) for line in results.values() if line.get("jobs")}
    at_once = f" Up to {max(jobs)} runs shared the machine while they were timed." if jobs and max(jobs) > 1 else ""
    memory = (
        "device memory allocated at most"
        if device == "cuda"
        else "resident memory of the run's process at its peak, less what it held with the libraries loaded"
    )
    notes = (
        "Means over seeds (folds are added up). The whole run includes reading, caching, evaluation and reports; it is "
        "given only for runs that were not interrupted, the time in steps for all. "
        f"Peak memory: {memory}.{at_once}",
    )
    return ComparisonTable("Cost", columns, tuple(rows), notes)


def matrix_tables(variants: Sequence[Variant], metric: str, split: str) -> list[ComparisonTable]:
    """Source × target matrices: one for each group of variants that differ in their source languages alone."""
    groups: dict[str, dict[str, Variant]] = {}
    for variant in variants:
        run = variant.runs[0]
        settings = {key: value for key, value in run.keys.items() if not key.startswith("data.") and key not in _OWN}
        sources = "+".join(run.manifest.source_languages)
        groups.setdefault(str(sorted(settings.items())), {}).setdefault(sources, variant)
    return [_matrix(group, metric, split) for group in groups.values() if len(group) > 1]


_OWN = ("name", "description", "seed", "track")


def _matrix(by_source: dict[str, Variant], metric: str, split: str) -> ComparisonTable:
    scores = {
        (source, language): value
        for source, variant in by_source.items()
        for language in variant.runs[0].languages(split)
        if (value := _mean(variant.runs, split, metric, language)) is not None
    }
    found = transfer_matrix(metric, scores)
    columns = (
        Column("Trained on", is_numeric=False),
        *(Column(named(target)) for target in found.targets),
        Column("Mean of the others"),
    )
    rows = []
    for source, score_T in zip(found.sources, found.score_ST, strict=True):
        cells = [Cell(NOTHING) if value is None else Cell(shown(metric, value), value) for value in score_T]
        average = found.average_to_others(source)
        cells.append(Cell(NOTHING) if average is None else Cell(shown(metric, average), average))
        rows.append((Cell(" + ".join(map(named, source.split("+")))), *cells))
    notes = ("Means over seeds. A column is one test language; only scores within a column stand on the same texts.",)
    better = "higher" if trait(metric).higher_is_better else "lower"
    title = f"Source × target: {display(metric)} on {split}, {better} is better"
    return ComparisonTable(title, columns, tuple(rows), notes)


def folds_table(comparison: Comparison, places: Sequence[RunDirectory], relative_to: Path) -> ComparisonTable:
    """The runs of a cross-validated study, one row a fold; their scores stand on different texts."""
    runs = tuple(load_run(place) for place in places)
    alone = tuple(Variant(run.path.name, (run,)) for run in runs)
    listed = replace(comparison, runs=runs, variants=alone, best=None, best_is_beyond_chance=False)
    table = without_empty_columns(runs_table(listed, relative_to=relative_to))
    rows = tuple((Cell(run.path.name), *row[1:]) for run, row in zip(runs, table.rows, strict=True))
    note = "Each fold was tested on its own texts: rows of different folds don't compare."
    return ComparisonTable("Folds", table.columns, rows, (*table.notes, note))


def without_empty_columns(table: ComparisonTable) -> ComparisonTable:
    """The table without the columns that no run has a figure for; a note names them."""
    empty = [
        place
        for place in range(len(table.columns))
        if table.rows and all(row[place].text == NOTHING for row in table.rows)
    ]
    if not empty:
        return table
    kept = [place for place in range(len(table.columns)) if place not in empty]
    names = ", ".join(table.columns[place].name for place in empty)
    note = f"No run of this study has: {names}."
    if any(table.columns[place].name.startswith("Last test in training") for place in empty):
        note += " The final test is the only one: no run of this study tested while it trained (evaluate.test)."
    return ComparisonTable(
        table.title,
        tuple(table.columns[place] for place in kept),
        tuple(tuple(row[place] for place in kept) for row in table.rows),
        (*table.notes, note),
    )


def _mean(runs: Sequence[RunData], split: str, metric: str, language: str) -> float | None:
    values = [run.score(split, metric, [language]) for run in runs]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
