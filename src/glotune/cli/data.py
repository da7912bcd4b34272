"""`glotune data`: check labelled texts before training on them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glotune.cli.overrides import refuse_options

if TYPE_CHECKING:
    from rich.table import Table

    from glotune.data.doctor import Diagnosis
    from glotune.evidence.label_quality import LabelQuality
    from glotune.recipe import Recipe

WIDEST_LABELS = 44
"""Characters: label names that take more stand below each other in a table of their own."""
MOST_LABELS = 20
"""So many labels are listed there, the most frequent."""

MOST_SUSPECTS, EXCERPT = 10, 100
"""Likely label errors that are listed there, and characters of each text."""

app = typer.Typer(help="Look at labelled texts before anything is trained on them.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Keeps `check` a verb of its own."""


@app.command("check")
def check(
    target: Annotated[
        str,
        typer.Argument(help="A data file, a folder, a Hub data set, or a recipe; with --labels a run or a study."),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Recipe keys to change, e.g. data.columns.text=tweet", callback=refuse_options
        ),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Measure fertility and truncation with this encoder's tokenizer.")
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Write the findings with examples as one HTML page.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the findings as JSON.")] = None,
    similarity: Annotated[
        float,
        typer.Option(min=0.5, max=1.0, help="Jaccard similarity of n-grams that makes near duplicates."),
    ] = 0.8,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as errors.")] = False,
    labels: Annotated[
        bool,
        typer.Option("--labels", help="List likely label errors, from the predictions of a run or of a study's folds."),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="With --labels: write all likely label errors as CSV.")] = None,
) -> None:
    """Count, compare and profile texts: duplicates, leaks, conflicting labels, writing, lengths, tokens.

    With --labels: labels that models which had not learned them contradict with confidence.

    Exit code 0: nothing that would mislead; 3: problems were found; 2: the data can't be read.
    """
    from glotune.errors import UserError

    if labels:
        if overrides or tokenizer or json_file or strict:
            raise UserError(
                "--labels reads the predictions of a run or study", expected="RUN or STUDY, --page and --out with it"
            )
        return _check_labels(target, page, out)
    if out:
        raise UserError("--out without --labels", expected="--page or --json for what is found in the texts")
    from glotune.cli.console import say
    from glotune.data.doctor import chooses_rows, examine, read_all, write_page
    from glotune.data.reading import read_texts

    recipe, is_recipe = _resolve(target, overrides or [])
    if is_recipe or chooses_rows(recipe.data):
        texts = read_texts(recipe.data, recipe.seed, recipe.task)
    else:
        texts = read_all(recipe.data, recipe.task, say)
    diagnosis = examine(
        texts,
        recipe.data,
        tokenizer=_tokenizer(recipe, tokenizer, is_recipe),
        similarity=similarity,
        progress=lambda stage: say(f"Looking at {stage} …"),
    )
    _show(diagnosis)
    if page:
        write_page(diagnosis, target, page)
        say(f"The page is in {page}")
    if json_file:
        _write_json(diagnosis, json_file)
    raise typer.Exit(diagnosis.exit_code(strict=strict))


def _check_labels(target: str, page: Path | None, out: Path | None) -> None:
    from glotune.cli.console import say
    from glotune.evidence.label_quality import examine_labels, write_page, write_table
    from glotune.recipe.paths import place_of
    from glotune.run.data import load_run
    from glotune.study.out_of_fold import origins, pooled_runs

    pooled = pooled_runs(place_of(target))
    runs = [load_run(place) for place in pooled] if pooled else [load_run(place_of(target))]
    found = examine_labels(runs, whole=bool(pooled), origins=origins(pooled[0]) if pooled else None)
    _show_labels(found)
    if page:
        write_page(found, target, page)
        say(f"The page is in {page}")
    if out:
        write_table(found, out)
        say(f"{len(found.suspects):,} likely label errors are in {out}")


def _show_labels(found: LabelQuality) -> None:
    from rich.table import Table

    from glotune.cli.console import out, show
    from glotune.words import named, percent

    has_label = found.inspected[0].label is not None
    table = Table(box=None, pad_edge=False)
    for name in ("split", "language", *(["label"] if has_label else [])):
        table.add_column(name, no_wrap=True)
    for name in ("texts", "answered as labelled", "likely errors", "estimated wrong"):
        table.add_column(name, justify="right")
    for each in found.inspected:
        names = [each.split, named(each.language), *([each.label] if has_label else [])]
        table.add_row(*names, f"{each.texts:,}", percent(each.agreement), f"{each.suspects:,}", percent(each.rate))
    out.print(table)
    for suspect in found.suspects[:MOST_SUSPECTS]:
        chances = f"{suspect.label} {suspect.label_probability:.2f}, {suspect.likely} {suspect.likely_probability:.2f}"
        text = "" if suspect.text is None else f": {' '.join(suspect.text.split())[:EXCERPT]}"
        show(f"{suspect.file}, row {suspect.row} ({chances}){text}")
    if len(found.suspects) > MOST_SUSPECTS:
        show(f"and {len(found.suspects) - MOST_SUSPECTS:,} more: --page PAGE.html or --out FILE.csv lists them all")
    for note in found.notes:
        show(f"Note: {note}")


def _resolve(target: str, overrides: list[str]) -> tuple[Recipe, bool]:
    """The recipe that a target is or stands for, and whether it is one."""
    from glotune.errors import UserError
    from glotune.recipe import builtin_recipes, load_recipe

    if target.lower().endswith((".yaml", ".yml")) or target in builtin_recipes():
        return load_recipe(target, overrides), True
    stand_in = {"name": "check", "model": {"name": "glotune-nano"}, "data": {"train": target}}
    recipe = load_recipe(stand_in, overrides)
    if recipe.data.train != target:
        raise UserError(
            f"a key sets data.train beside {target}",
            expected="one of the two",
            remedy="Name a recipe to look at the files of its keys, e.g. glotune data check e5 data.train.en=en.csv",
        )
    return recipe, False


def _tokenizer(recipe: Recipe, named: str | None, is_recipe: bool) -> Any:
    """The tokenizer that was asked for; a recipe's own where it can be had, else None."""
    from glotune.cli.console import say
    from glotune.errors import UserError

    if named is None and not is_recipe:
        return None
    from glotune.model.loading import load_tokenizer
    from glotune.recipe.schema import Model

    if named is not None:
        return load_tokenizer(Model(name=named))
    try:
        return load_tokenizer(recipe.model)
    except UserError as error:
        say(f"Without tokens: {error}")
        return None


def _show(diagnosis: Diagnosis) -> None:
    from rich.table import Table

    from glotune.cli.console import out, show

    columns = diagnosis.labels if len("  ".join(diagnosis.labels)) <= WIDEST_LABELS else []
    table = Table(box=None, pad_edge=False)
    for name in ("split", "language"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", *columns, "words, median", "p95", "repeated", "fertility", "truncated"):
        table.add_column(name, justify="right")
    for split, languages in diagnosis.splits.items():
        for language, entry in languages.items():
            table.add_row(split, language, *_cells(entry, columns))
    out.print(table)
    if not columns:
        out.print(_label_table(diagnosis))
    for finding in diagnosis.findings:
        places = ", ".join(f"{place} {number}" for place, number in list(finding.counts.items())[:12])
        more = f", and {len(finding.counts) - 12} more" if len(finding.counts) > 12 else ""
        show(f"{finding.severity:<8} {finding.message}: {places}{more}")
    if diagnosis.shared_texts:
        counts = ", ".join(f"{language} {number}" for language, number in diagnosis.shared_texts.items())
        show(f"Distinct texts in two or more splits: {counts}")
    for note in diagnosis.notes:
        show(f"Note: {note}")


def _label_table(diagnosis: Diagnosis) -> Table:
    """Rows per label over all splits, the most frequent first: for labels that don't fit beside each other."""
    from rich.table import Table

    totals: Counter[str] = Counter()
    for languages in diagnosis.splits.values():
        for entry in languages.values():
            totals.update(entry["label_counts"])
    table = Table(box=None, pad_edge=False)
    table.add_column("label", no_wrap=True)
    table.add_column("rows", justify="right")
    for label, rows in totals.most_common(MOST_LABELS):
        table.add_row(label if len(label) <= WIDEST_LABELS else label[: WIDEST_LABELS - 1] + "…", f"{rows:,}")
    rest = totals.most_common()[MOST_LABELS:]
    if rest:
        table.add_row(f"and {len(rest):,} more labels", f"{sum(rows for _, rows in rest):,}")
    return table


def _cells(entry: dict[str, Any], labels: list[str]) -> list[str]:
    from glotune.words import count

    fertility = f"{entry['fertility']:.2f}" if entry.get("fertility") is not None else "-"
    truncated = f"{entry['truncation_rate']:.1%}" if "truncation_rate" in entry else "-"
    return [
        f"{entry['rows']:,}",
        *(count(entry["label_counts"].get(label)) for label in labels),
        f"{entry['words']['median']:.0f}",
        f"{entry['words']['p95']:.0f}",
        f"{entry['duplicate_rows']:,}",
        fertility,
        truncated,
    ]


def _write_json(diagnosis: Diagnosis, path: Path) -> None:
    import json
    from dataclasses import asdict

    from glotune.whole_files import write_output

    content = asdict(diagnosis) | {"sources": [source.model_dump() for source in diagnosis.sources]}
    write_output(path, json.dumps({"schema": 1, **content}, ensure_ascii=False, indent=1) + "\n")
