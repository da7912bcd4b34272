"""The tables of a search: its trials, and what its winner is worth on texts and seeds that it never saw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from glotune.evidence.cells import Cell, Column, ComparisonTable, display, score, shown, word
from glotune.recipe.space import Axis
from glotune.recipe.study import PLAIN, WINNER
from glotune.report.figures.model import Estimate
from glotune.report.figures.study import estimate
from glotune.run.data import RunData
from glotune.run.trials import SearchRecord, Trial
from glotune.stats.traits import trait
from glotune.words import NOTHING, counted, duration, plain

ORACLE = (
    "An oracle: the search, and the checkpoint of every run, was chosen by validation texts of the target languages "
    "(search.on: target). Nobody has those labels in zero-shot use."
)


def search_table(
    record: SearchRecord, trials: Sequence[Trial], axes: Sequence[Axis], epochs: float | None, folder: Path
) -> ComparisonTable:
    """One row a trial, the best first.

    Args:
        epochs: that a trial would be trained for, where all have the same; what pruning saved is told of it.
        folder: of the search, as links from the report name it.
    """
    sign = -1.0 if record.higher_is_better else 1.0
    rank = {"complete": 0, "pruned": 1, "running": 2, "failed": 3}
    ranked = sorted(
        trials,
        key=lambda each: (
            not each.is_sound, rank[each.state], math.inf if each.value is None else sign * each.value, each.number
        ),
    )  # fmt: skip
    columns = (
        Column("Trial", is_numeric=False),
        *(Column(axis.key, is_numeric=axis.choices is None) for axis in axes),
        Column(f"{display(record.metric)}, {record.on} validation"),
        Column("Epochs"),
        Column("Outcome", is_numeric=False),
        Column("Time in steps"),
    )
    rows = tuple(_row(trial, record, axes, folder) for trial in ranked)
    return ComparisonTable("The search, trial by trial", columns, rows, tuple(_notes(record, trials, epochs)))


def _row(trial: Trial, record: SearchRecord, axes: Sequence[Axis], folder: Path) -> tuple[Cell, ...]:
    verdict = f"{trial.outcome}, {trial.verdict}" if trial.state == "complete" and trial.is_sound else trial.outcome
    is_winner = trial.number == record.winner
    mark = " (winner)" if is_winner else " (plain)" if trial.is_plain else ""
    return (
        Cell(f"{trial.name}{mark}", is_best=is_winner, href=str(folder / "runs" / trial.name / "recipe.yaml")),
        *(_value(trial.values[axis.key]) for axis in axes),
        score(record.metric, trial.value, is_best=is_winner),
        Cell(NOTHING) if trial.epochs is None else Cell(f"{trial.epochs:.3g}", trial.epochs),
        word(verdict if trial.reason is None else f"{verdict}: {trial.reason}"),
        Cell(NOTHING) if trial.seconds is None else Cell(duration(trial.seconds), trial.seconds),
    )


def _value(value: object) -> Cell:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and isinstance(value, int | float):
        return Cell(f"{value:.3g}" if isinstance(value, float) else str(value), float(value))
    return Cell(plain(value))


def _notes(record: SearchRecord, trials: Sequence[Trial], epochs: float | None) -> list[str]:
    counts: dict[str, int] = {}
    for trial in trials:
        counts[trial.outcome] = counts.get(trial.outcome, 0) + 1
    seconds = sum(trial.seconds or 0.0 for trial in trials)
    notes = [
        f"{counted(len(trials), 'trial')}: {', '.join(f'{count} {name}' for name, count in counts.items())}; "
        f"{duration(seconds)} of optimizer steps. It ended because {record.ended or 'it was cut off'}.",
        f"Each was judged by {display(record.metric)} of its best checkpoint on {record.on} validation texts, all with "
        f"seed {record.content['seed']}. No trial read a test text. What a trial was worth is no evidence: the best of "
        "many looks better than it is.",
    ]
    if record.first_rung is not None:
        trained = sum(trial.epochs or 0.0 for trial in trials if trial.state == "pruned")
        left = counts.get("pruned", 0)
        saved = (
            f" They would have been trained for {left * epochs - trained:.3g} epochs more." if epochs and left else ""
        )
        notes.append(
            f"After epochs {record.first_rung}, {record.first_rung * record.factor}, "
            f"{record.first_rung * record.factor**2}, … only the best 1 in {record.factor} went on (successive halving)"
            f": {left} of {len(trials)} were left early.{saved}"
        )
    return [ORACLE, *notes] if record.on == "target" else notes


def found_table(
    record: SearchRecord, trials: Sequence[Trial], runs: Sequence[RunData], own: Mapping[str, object]
) -> ComparisonTable:
    """What the winner is worth: in the search, which chose it by that score, and on seeds and texts that it never saw.

    Args:
        own: the searched keys as they stand in the plain recipe.
        runs: those with fresh seeds, of both variants.
    """
    by_name = {name: [run for run in runs if run.name == name] for name in (PLAIN, WINNER)}
    winner = next((trial for trial in trials if trial.number == record.winner), None)
    tried = next((trial for trial in trials if trial.is_plain), None)
    searched = (None if tried is None else tried.value, None if winner is None else winner.value)
    rows = [
        (
            word(f"In the search: {record.on} validation, one seed; the winner is the best of {len(trials)}, so its "
                 "score is too good"),
            *(score(record.metric, value) for value in searched),
            _difference(record.metric, *searched),
        )
    ]  # fmt: skip
    sources = record.on == "source"
    for split, is_source, words in (
        ("validation", sources, f"Fresh seeds: the same {record.on} validation texts"),
        ("test", True, "Fresh seeds: test texts of the source languages, never seen by the search"),
        ("test", False, "Fresh seeds: test texts of the target languages, never seen by the search"),
    ):
        languages = _languages(runs, split, is_source)
        if languages:
            found = [estimate(by_name[name], split, languages, record.metric) for name in (PLAIN, WINNER)]
            gap = _difference(record.metric, *(None if each is None else each.value for each in found))
            rows.append((word(words), *(_estimated(record.metric, each) for each in found), gap))
    columns = (
        Column("Measured", is_numeric=False),
        Column(f"Plain: {display(record.metric)}"),
        Column(f"Winner: {display(record.metric)}"),
        Column("Winner minus plain", note="points" if trait(record.metric).is_percent else ""),
    )
    found_values = {} if winner is None else winner.values
    told = "; ".join(
        f"{key} {_value(value).text} (plain: {_value(own[key]).text})" for key, value in found_values.items()
    )
    notes = [
        f"Found: {told}.",
        f"Intervals are 95 %, over seeds and texts. {_optimism(record, winner, by_name[WINNER])}".strip(),
        "Whether the difference is beyond chance is answered by the claims, not here.",
    ]
    return ComparisonTable(
        "What the search found, and what it is worth",
        columns,
        tuple(rows),
        tuple([ORACLE, *notes] if record.on == "target" else notes),
    )


def _optimism(record: SearchRecord, winner: Trial | None, runs: Sequence[RunData]) -> str:
    languages = _languages(runs, "validation", record.on == "source")
    found = estimate(list(runs), "validation", languages, record.metric) if languages else None
    if found is None or winner is None or winner.value is None:
        return ""
    gap = winner.value - found.value
    unit = " points" if trait(record.metric).is_percent else ""
    return (
        f"On the very same validation texts the winner lost {shown(record.metric, abs(gap))}{unit} against its score "
        "in the search once other seeds trained it: that much of it was luck of the draw."
        if (gap > 0) == record.higher_is_better
        else "On the same validation texts other seeds did not lower the winner's score."
    )


def _languages(runs: Sequence[RunData], split: str, is_source: bool) -> list[str]:
    scored = [run for run in runs if run.evaluations.get(split)]
    if not scored:
        return []
    return [
        code
        for code in scored[0].evaluations[split]
        if scored[0].is_source(code) == is_source and all(code in run.evaluations[split] for run in scored)
    ]


def _estimated(metric: str, found: Estimate | None) -> Cell:
    if found is None:
        return Cell(NOTHING)
    reach = "" if found.low is None or found.high is None else (
        f" [{shown(metric, found.low)}, {shown(metric, found.high)}]"
    )  # fmt: skip
    return Cell(f"{shown(metric, found.value)}{reach}", found.value)


def _difference(metric: str, plain_value: float | None, winner: float | None) -> Cell:
    if plain_value is None or winner is None:
        return Cell(NOTHING)
    return Cell(shown(metric, winner - plain_value, "+"), winner - plain_value)
