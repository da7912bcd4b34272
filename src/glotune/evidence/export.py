"""Tables as Markdown, CSV and LaTeX, and as the page shows them."""

from __future__ import annotations

import csv
import io
from typing import Any

from glotune.evidence.cells import Cell, ComparisonTable
from glotune.words import escaped

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "−": "$-$", "<": "$<$",
    ">": "$>$", "|": r"$|$",
}  # fmt: skip


def as_markdown(table: ComparisonTable) -> str:
    """A GitHub table under its title, notes below."""
    heads = " | ".join(escaped(column.name) for column in table.columns)
    rule = " | ".join("---:" if column.is_numeric else ":---" for column in table.columns)
    rows = ["| " + " | ".join(_bold_markdown(cell) for cell in row) + " |" for row in table.rows]
    notes = [f"\n{escaped(note)}" for note in table.notes]
    return "\n".join([f"**{escaped(table.title)}**\n", f"| {heads} |", f"| {rule} |", *rows, *notes]) + "\n"


def _bold_markdown(cell: Cell) -> str:
    if cell.href:
        return f"[{escaped(cell.text)}](<{cell.href}>)"
    return f"**{escaped(cell.text)}**" if cell.is_best else escaped(cell.text)


def as_csv(table: ComparisonTable) -> str:
    """Raw values (shares in 0 .. 1) where a cell has one, its text otherwise; RFC 4180.

    Text that a spreadsheet would run as a formula is quoted with an apostrophe.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    for row in table.rows:
        writer.writerow([_csv_cell(cell) for cell in row])
    return buffer.getvalue()


def _csv_cell(cell: Cell) -> str | float:
    if cell.value is not None:
        return int(cell.value) if cell.value == int(cell.value) and abs(cell.value) < 1e15 else cell.value
    text = cell.href or cell.text
    if text == "–":
        return ""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def as_latex(table: ComparisonTable) -> str:
    """A ``table`` for the package booktabs."""
    form = "".join("r" if column.is_numeric else "l" for column in table.columns)
    rows = [" & ".join(_bold_latex(cell) for cell in row) + r" \\" for row in table.rows]
    notes = " ".join(table.notes)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(table.title)}. {_latex(notes)}}}",
        rf"\begin{{tabular}}{{{form}}}",
        r"\toprule",
        " & ".join(_latex(column.name) for column in table.columns) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _bold_latex(cell: Cell) -> str:
    return rf"\textbf{{{_latex(cell.text)}}}" if cell.is_best else _latex(cell.text)


def as_page_table(table: ComparisonTable) -> dict[str, Any]:
    """The table as report.html takes it."""
    return {
        "title": table.title,
        "columns": [
            {"name": column.name, "numeric": column.is_numeric, "note": column.note or None} for column in table.columns
        ],
        "rows": [
            [{"text": cell.text, "value": cell.value, "best": cell.is_best, "href": cell.href} for cell in row]
            for row in table.rows
        ],
        "notes": list(table.notes),
    }


EXPORTS = {"md": as_markdown, "csv": as_csv, "tex": as_latex}
"""File ending -> writer."""
