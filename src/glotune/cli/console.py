"""The two streams of the command line: results on stdout, everything said about them on stderr."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

PLAIN_WIDTH = 120
"""Columns of a table that is not written to a terminal."""


def _console(stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PLAIN_WIDTH
    return console


out = _console(stderr=False)
err = _console(stderr=True)


def say(message: str) -> None:
    """One line for people on stderr, printed as it is: no markup, no wrapping."""
    err.print(message, markup=False, soft_wrap=True)


def show(text: str) -> None:
    """Text on stdout, printed as it is."""
    out.print(text, markup=False, soft_wrap=True)


def show_json(content: Mapping[str, Any]) -> None:
    """Indented JSON on stdout: coloured on a terminal, plain and parseable through a pipe."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    if not out.is_terminal:
        show(text)
        return
    from rich.json import JSON

    out.print(JSON(text, ensure_ascii=False), soft_wrap=True)


def show_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Names and what there is to say of them on stdout, values folded and never cut."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, min_width=18)
    table.add_column(overflow="fold")
    for name, value in rows or [("nothing", "")]:
        table.add_row(name, value)
    out.print(table)
    out.print()
