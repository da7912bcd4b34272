"""A comparison as two tables: its variants, and its runs with every figure that a hand-made report lists."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from glotune.evidence.cells import (
    Cell,
    Column,
    ComparisonTable,
    display,
    figure,
    is_percent,
    score,
    shown,
    unit,
    word,
)
from glotune.evidence.changes import WITHIN_CHANCE
from glotune.evidence.claims import UNSTABLE
from glotune.evidence.compare import Comparison
from glotune.evidence.lora_weights import mean_weight
from glotune.evidence.tracker_pages import tracker_pages
from glotune.evidence.variants import Difference, Variant
from glotune.recipe.kinds import TaskName
from glotune.run.data import RunData
from glotune.stats.calibration import chance_error
from glotune.stats.percentage import HIGHER_FORMULA, LOWER_FORMULA
from glotune.stats.seed_scores import uneven_spread
from glotune.stats.traits import trait
from glotune.words import NOTHING

STAGE_NOTES: dict[TaskName, str] = {
    "single_label": "Scores in percent, loss in nats per text",
    "multi_label": "Scores in percent, loss in nats per label; training answers from probability 1/2 on",
    "score": "Loss in units of the training scores' variance",
}


def stage_metrics(comparison: Comparison) -> tuple[str, ...]:
    """What is told of each stage of a run: the two metrics of its task that have room, and the loss."""
    return (*comparison.runs[0].kind.pair, "loss")


def variants_table(comparison: Comparison) -> ComparisonTable:
    """One row a variant: mean and spread over seeds, change against the reference, corrected p-value."""
    metric = comparison.metric
    named = f"{display(metric)}{', ' + unit(metric) if unit(metric) else ''}"
    columns: tuple[Column, ...] = (
        Column("Variant", is_numeric=False),
        Column("Verdict", is_numeric=False),
        Column("Seeds"),
        Column(named, note="mean ± standard deviation over seeds"),
        Column(f"Difference to {comparison.reference.name}", note="with its 95 % interval"),
        Column("p, corrected", note="Holm"),
        Column("Change, %", note="with its 95 % interval, by the delta method"),
    )
    rows = tuple(_variant_row(comparison, variant) for variant in comparison.variants)
    if comparison.without_leaks is not None:
        columns += (Column("Without leaked texts"), Column("Difference without them", note="with its 95 % interval"))
        clean = map(partial(_clean_cells, comparison.without_leaks), comparison.without_leaks.variants)
        rows = tuple((*row, *cells) for row, cells in zip(rows, clean, strict=True))
    if any(comparison.conditions.values()):
        columns += (Column("Conditions", is_numeric=False),)
        rows = tuple(
            (*row, word(", ".join(each.word for each in comparison.conditions_of(variant))))
            for row, variant in zip(rows, comparison.variants, strict=True)
        )
    languages = ", ".join(comparison.languages)
    title = f"{display(metric)} on {comparison.split} ({languages})"
    return ComparisonTable(title, columns, rows, tuple(_notes(comparison)))


def _clean_cells(clean: Comparison, variant: Variant) -> tuple[Cell, Cell]:
    """Mean and difference of a variant over the texts that no run met in training."""
    if variant is clean.reference:
        return _mean_cell(clean, variant, False), Cell("reference")
    return _mean_cell(clean, variant, False), _difference_cell(clean.metric, clean.against_reference.get(variant.name))


def _variant_row(comparison: Comparison, variant: Variant) -> tuple[Cell, ...]:
    is_best = variant is comparison.best and comparison.best_is_beyond_chance
    is_reference = variant is comparison.reference
    found = comparison.against_reference.get(variant.name)
    verdicts = sorted({run.verdict.status if run.verdict else "none" for run in variant.every_run})
    return (
        Cell(variant.name, is_best=is_best),
        word(", ".join(verdicts)),
        figure(len(variant.runs), "d"),
        _mean_cell(comparison, variant, is_best),
        Cell("reference") if is_reference else _difference_cell(comparison.metric, found),
        Cell(NOTHING)
        if found is None or found.adjusted_p is None
        else Cell(p_text(found.adjusted_p), found.adjusted_p),
        Cell(NOTHING) if is_reference else _percentage_cell(comparison, variant),
    )


def _mean_cell(comparison: Comparison, variant: Variant, is_best: bool) -> Cell:
    values = variant.values(comparison.split, comparison.metric, comparison.languages)
    mean = comparison.mean(variant)
    if mean is None:
        return Cell(NOTHING)
    text = shown(comparison.metric, mean)
    if len(values) > 1:
        spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
        text += f" ± {shown(comparison.metric, spread)}"
    return Cell(text, mean, is_best)


def _difference_cell(metric: str, found: Difference | None) -> Cell:
    if found is None:
        return Cell("not tested")
    if found.value is None or found.interval is None:
        return Cell(f"invalid: {found.reason}")
    low, high = (shown(metric, end, "+") for end in (found.interval.low, found.interval.high))
    return Cell(f"{shown(metric, found.value, '+')} [{low}, {high}]", found.value)


def _percentage_cell(comparison: Comparison, variant: Variant) -> Cell:
    change = comparison.percentage(variant)
    if change.percent is None:
        return Cell("none: within chance" if change.reason == WITHIN_CHANCE else "none")
    ends = "" if change.interval is None else f" [{change.interval.low:+.1f}, {change.interval.high:+.1f}]"
    return Cell(f"{change.percent:+.1f}{ends}", change.percent)


def p_text(value: float) -> str:
    """``0.034``, ``< 0.001``."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _notes(comparison: Comparison) -> list[str]:
    higher = trait(comparison.metric).higher_is_better
    notes = [
        f"Change = {HIGHER_FORMULA if higher else LOWER_FORMULA}; {'higher' if higher else 'lower'} is better.",
    ]
    if comparison.metric == "ece" and comparison.tested:
        notes.append(_calibrated_by_chance(comparison))
    if comparison.tested:
        over = sorted({each.over for each in comparison.against_reference.values() if each.over})
        if over:
            notes.append(
                f"Differences are paired on the same texts; 95 % intervals over {' or '.join(over)}; p-values are "
                "Holm-corrected for all comparisons here."
            )
        notes += _about_single_seeds(comparison)
        notes.append(_why_bold(comparison))
        notes += _could_have_shown(comparison)
        notes += _about_spreads(comparison)
    for reason, names in _without_change(comparison).items():
        notes.append(f"No change in percent for {', '.join(names)}: {reason}.")
    for variant in comparison.variants:
        if variant.unsound:
            notes.append(f"{variant.name} is not compared ({variant.unsound}): a change against it would mean nothing.")
    notes += _condition_notes(comparison)
    leaks = any(
        run.leaked.get(comparison.split, {}).get(code) for run in comparison.runs for code in comparison.languages
    )
    if leaks and comparison.tested and comparison.without_leaks is None:
        notes.append(
            "Without the leaked texts nothing can be said: none would be left, none of a class, or their rows can't be "
            "told."
        )
    return [*notes, *comparison.notes]


def _calibrated_by_chance(comparison: Comparison) -> str:
    """A calibration error is read against that of a perfectly calibrated model, which is not 0."""
    run, split, languages = comparison.reference.runs[0], comparison.split, comparison.languages
    stated = [run.outcomes(split, language).stated() for language in languages]
    floors = [chance_error(each) for each in stated if each is not None]
    mean = shown("ece", sum(floors) / len(floors))
    return (
        f"With the confidences of {run.name}, a perfectly calibrated model would show {mean} points on these texts by "
        "chance."
    )


def _without_change(comparison: Comparison) -> dict[str, list[str]]:
    """Why there is no percentage -> for whom; what the table or another note says already is left out."""
    found: dict[str, list[str]] = {}
    for variant in comparison.variants:
        if variant is comparison.reference or variant.unsound or comparison.reference.unsound:
            continue
        reason = comparison.percentage(variant).reason
        if reason is not None and reason != WITHIN_CHANCE and comparison.tested:
            found.setdefault(reason, []).append(variant.name)
    return found


def _condition_notes(comparison: Comparison) -> list[str]:
    """Each condition once, with the variants that it is said of."""
    named: dict[str, list[str]] = {}
    for variant in comparison.variants:
        for each in comparison.conditions_of(variant):
            named.setdefault(each.sentence, []).append(variant.name)
    return [f"{', '.join(names[:5])}{_more(names[5:])}: {sentence}" for sentence, names in named.items()]


def _more(names: list[str]) -> str:
    return f" and {len(names)} more" if names else ""


def _why_bold(comparison: Comparison) -> str:
    if comparison.best_is_beyond_chance:
        return "Bold: the best variant, because its lead over every other sound one is beyond the interval."
    if comparison.of_one_seed:
        names = comparison.of_one_seed
        return (
            f"Nothing is bold: {', '.join(names[:5])}{' and others' if len(names) > 5 else ''} "
            f"{'has' if len(names) == 1 else 'have'} one seed, and the lead of one seed says nothing about others. "
            "Train two or more of each."
        )
    return "Nothing is bold: no variant leads every other sound one by more than the interval."


def _about_single_seeds(comparison: Comparison) -> list[str]:
    tests = sorted({each.test for each in comparison.against_reference.values() if each.test})
    if not tests:
        return []
    return [
        f"One seed each: the p-value, by {' or '.join(tests)}, is about these two models on other texts. It says "
        "nothing about their recipes, whose next seeds may come out the other way."
    ]


def _could_have_shown(comparison: Comparison) -> list[str]:
    """How large a difference had to be, where none was found."""
    found = comparison.against_reference.values()
    known = [each.could_show for each in found if each.could_show is not None and not each.is_beyond_chance]
    if not known:
        return []
    least, most = (shown(comparison.metric, value) for value in (min(known), max(known)))
    size = least if least == most else f"{least} to {most}"
    named = "points" if is_percent(comparison.metric) else unit(comparison.metric)
    return [
        f"These seeds and texts show a difference of {size} {named} with a chance of 80 %: a smaller one may be there, "
        "unseen."
    ]


def _about_spreads(comparison: Comparison) -> list[str]:
    found = []
    reference = comparison.reference.values(comparison.split, comparison.metric, comparison.languages)
    for variant in comparison.variants:
        values = variant.values(comparison.split, comparison.metric, comparison.languages)
        if variant is not comparison.reference and uneven_spread([values, reference]) is not None:
            found.append(variant.name)
    if not found:
        return []
    return [f"Seeds of {', '.join(found)} and of {comparison.reference.name} scatter very unequally: {UNSTABLE}."]


def runs_table(comparison: Comparison, relative_to: Path | None = None) -> ComparisonTable:
    """One row a run: its settings, the figures of each stage, and where its files are.

    Args:
        comparison: the runs; scores are means over its languages, training figures are over all training texts.
        relative_to: folder that links are relative to; absolute paths otherwise.
    """
    with_lora = any(run.keys.get("model.lora.rank") is not None for run in comparison.runs)
    columns = [Column("Run", is_numeric=False), Column("Verdict", is_numeric=False), Column("Seed")]
    if with_lora:
        columns += [Column("Rank"), Column("Alpha"), Column("Targets", is_numeric=False), Column("LoRA dropout")]
    columns += [Column("Batch"), Column("Rate"), Column("Epochs"), Column("Steps")]
    for stage in ("Training", "Validation", "Last test in training", "Final test"):
        columns += [Column(f"{stage} {display(metric)}") for metric in stage_metrics(comparison)]
    if with_lora:
        columns.append(Column("Mean |LoRA weight|"))
    columns += [Column(name, is_numeric=False) for name in ("Log", "Recipe", "Checkpoints", "Report", "Tracker")]
    rows = tuple(_run_row(comparison, run, with_lora, relative_to) for run in comparison.runs)
    notes = [
        f"{STAGE_NOTES[comparison.runs[0].kind.name]}; means over the languages compared.",
        "Last test in training: with the weights at the end of training, where the recipe has evaluate.test or the "
        "last weights were the ones kept. Final test: with the checkpoint that validation chose.",
    ]
    validated = {
        ", ".join(run.languages("validation"))
        for run in comparison.runs
        if not set(comparison.languages) <= set(run.languages("validation"))
    }
    if validated - {""}:
        notes.append(f"Validation is in its own languages: {'; '.join(sorted(validated - {''}))}.")
    return ComparisonTable("Runs", tuple(columns), rows, tuple(notes))


def _run_row(comparison: Comparison, run: RunData, with_lora: bool, relative_to: Path | None) -> tuple[Cell, ...]:
    keys, languages = run.keys, comparison.languages
    alone = next(variant for variant in comparison.variants if run in variant.runs)
    is_best = comparison.best_is_beyond_chance and alone is comparison.best
    cells = [
        Cell(run.name, is_best=is_best),
        word(run.verdict.status if run.verdict else run.manifest.status.value),
        figure(run.manifest.seed, "d"),
    ]
    if with_lora:
        targets = keys.get("model.lora.target_modules")
        cells += [
            figure(_number(keys.get("model.lora.rank"))),
            figure(_number(keys.get("model.lora.alpha"))),
            word(" + ".join(targets) if isinstance(targets, list) else None),
            figure(_number(keys.get("model.lora.dropout"))),
        ]
    cells += [
        figure(_number(keys.get("train.batch_size"))),
        figure(_number(keys.get("optimizer.learning_rate"))),
        figure(run.last.steps[-1].epoch if run.last.steps else None),
        figure(run.last.steps[-1].step if run.last.steps else None, ",.0f"),
    ]
    told = stage_metrics(comparison)
    for metric in told:
        cells.append(score(metric, run.last.train[-1].scores.get(metric) if run.last.train else None))
    validated = stage_languages(languages, run.languages("validation"))
    for metric in told:
        cells.append(score(metric, run.score("validation", metric, validated)))
    for metric in told:
        cells.append(score(metric, last_test(run, metric, languages)))
    for metric in told:
        cells.append(score(metric, run.score("test", metric, languages), is_best and metric == comparison.metric))
    if with_lora:
        cells.append(figure(mean_weight(run), ".3g"))
    return (*cells, *_links(run, relative_to))


def stage_languages(compared: list[str], known: list[str]) -> list[str]:
    """The compared languages where a stage has them all, otherwise its own: zero-shot runs validate on the source."""
    return compared if set(compared) <= set(known) else known


def last_test(run: RunData, metric: str, languages: list[str]) -> float | None:
    """The test score of the last weights: as evaluated while training, or the final one where they were kept."""
    tested = stage_languages(languages, run.last.languages("test"))
    found = run.last.last_score("test", metric, tested)
    if found is None and run.last.steps and run.manifest.best_step == run.last.steps[-1].step:
        return run.score("test", metric, languages)
    return found


def _links(run: RunData, relative_to: Path | None) -> list[Cell]:
    places = [
        run.directory.log, run.directory.recipe, run.directory.checkpoints, run.directory.report / "report.html"
    ]  # fmt: skip
    names = ("log", "recipe", "checkpoints", "report")
    cells = [
        Cell(name, href=_place(path, relative_to)) if path.exists() else Cell(NOTHING)
        for name, path in zip(names, places, strict=True)
    ]
    return [*cells, _tracker(run, relative_to)]


def _tracker(run: RunData, relative_to: Path | None) -> Cell:
    """The run's page at its tracker, otherwise the folder where the tracker keeps its records."""
    for known in tracker_pages(run.path):
        if known.page:
            return Cell(known.tracker, href=known.page)
        if known.folder.is_dir():
            return Cell(known.tracker, href=_place(known.folder, relative_to))
    return Cell(NOTHING)


def _place(path: Path, relative_to: Path | None) -> str:
    return os.path.relpath(path, relative_to) if relative_to else str(path)


def _number(value: object) -> float | int | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
