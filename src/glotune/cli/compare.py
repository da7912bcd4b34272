"""`glotune compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from glotune.evidence.cells import Cell, ComparisonTable


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or folders of runs.")],
    metric: Annotated[
        str | None,
        typer.Option(help="Metric by which the runs are ranked and tested. Default: macro_f1, of scores pearson."),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="A code, 'targets' (default: languages that no run trained on) or 'all'.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The run that the others are compared with; the first by default.")
    ] = None,
    tests: Annotated[
        bool | None, typer.Option("--tests/--no-tests", help="Paired tests; up to 40 variants unless asked for.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the tables to NAME.md, NAME.csv or NAME.tex, by the ending.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Also print the table of single runs with all metrics.")] = False,
) -> None:
    """Compare finished runs on the same texts: means and spreads, intervals, corrected tests, percentages."""
    from glotune.cli.console import out, say
    from glotune.evidence import compare_runs, runs_table, variants_table
    from glotune.run.directory import RunDirectory
    from glotune.run.state import find_runs

    directories: list[RunDirectory] = []
    unread: list[str] = []
    for path in runs:
        directories += find_runs(path, problems=unread) if path.is_dir() else [RunDirectory.open(path)]
    for problem in unread:
        say(f"Not compared: {problem}")
    if not directories:
        directories = [RunDirectory.open(path) for path in runs]
    comparison = compare_runs(directories, metric, language=language, reference=reference, tests=tests)
    tables = [variants_table(comparison)]
    if export is None or full:
        for table in [*tables, runs_table(comparison)] if full else tables:
            out.print(_shown(table))
        for note in tables[0].notes:
            say(note)
    if export is not None:
        for path in _write(export, [*tables, runs_table(comparison, relative_to=export.parent)]):
            say(f"Written: {path}")


def _shown(table: ComparisonTable) -> Table | Text:
    """Columns where the terminal has room for every word; a block of lines for each row where it has not."""
    from rich.table import Table
    from rich.text import Text

    from glotune.cli.console import out

    shown = Table(title=Text(table.title), box=None, pad_edge=False, title_justify="left")
    linked = {place for row in table.rows for place, cell in enumerate(row) if cell.href}  # files: for exports
    for place, column in enumerate(table.columns):
        if place not in linked:
            shown.add_column(
                Text(column.name), justify="right" if column.is_numeric else "left", no_wrap=place == 0, overflow="fold"
            )
    for row in table.rows:
        shown.add_row(*[_cell(cell) for place, cell in enumerate(row) if place not in linked])
    return shown if _least_width(table, linked) <= out.width else _blocks(table, linked)


def _least_width(table: ComparisonTable, left_out: set[int]) -> int:
    """Terminal columns that the table needs with no word cut; names, in the first column, stay on one line."""
    widths = []
    for place, column in enumerate(table.columns):
        if place not in left_out:
            texts = [column.name, *(row[place].text for row in table.rows)]
            words = texts if place == 0 else [word for text in texts for word in text.split()]
            widths.append(max(map(len, words), default=0))
    return sum(widths) + 2 * (len(widths) - 1)


def _blocks(table: ComparisonTable, left_out: set[int]) -> Text:
    from rich.text import Text

    from glotune.words import NOTHING

    shown = Text(f"{table.title}\n", style="italic")
    for row in table.rows:
        for place, (column, cell) in enumerate(zip(table.columns, row, strict=True)):
            if place not in left_out and cell.text != NOTHING:
                shown.append_text(Text(f"{'' if place == 0 else '  '}{column.name}: ", style="not italic"))
                shown.append_text(Text(f"{cell.text}\n", style="bold not italic" if cell.is_best else "not italic"))
    return shown


def _cell(cell: Cell) -> Text:
    from rich.text import Text

    return Text(cell.text, style="bold" if cell.is_best else "")


def _write(export: Path, tables: list[ComparisonTable]) -> list[Path]:
    """Markdown and LaTeX hold both tables; a CSV file is one table, so the runs go to NAME.runs.csv."""
    from glotune.errors import UserError
    from glotune.evidence import EXPORTS
    from glotune.whole_files import write_output

    kind = export.suffix.removeprefix(".")
    if kind not in EXPORTS:
        raise UserError(
            f"--export {export} ends in {export.suffix or 'nothing'}", expected="a name ending in .md, .csv or .tex"
        )
    if not export.parent.is_dir():
        raise UserError(f"there is no folder {export.parent}", expected="an existing folder to write to")
    writer = EXPORTS[kind]
    if kind == "csv":
        paths = [export, export.with_suffix(".runs.csv")]
        for path, table in zip(paths, tables, strict=True):
            write_output(path, writer(table))
        return paths
    write_output(export, "\n".join(writer(table) for table in tables))
    return [export]
