"""`glotune clean`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

RUNS = Path("runs")


def clean(
    folder: Annotated[Path, typer.Argument(help="A folder of runs, or one run.")] = RUNS,
    failed: Annotated[
        bool, typer.Option("--failed", help="Also delete whole runs that failed before their first checkpoint.")
    ] = False,
    cache: Annotated[
        bool, typer.Option("--cache", help="Also delete the cache of tokenized texts and frozen layers.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
) -> None:
    """List what can be deleted and how much it frees, then ask. Results, models and resumable runs stay."""
    from rich.table import Table
    from rich.text import Text

    from glotune.cli.console import out, say
    from glotune.errors import RunError, UserError
    from glotune.verbs.clean import Choice, delete, find
    from glotune.words import size

    if not folder.is_dir() and not (folder == RUNS and cache):
        if folder == RUNS:
            say("No runs here: nothing to clean.")
            return
        raise UserError(f"there is no folder {folder}", expected="a folder of runs, or one run")
    items, left = find(folder, Choice(failed, cache))
    for line in left:
        say(line)
    if not items:
        say(f"Nothing to clean in {folder}.")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("frees", justify="right", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("where", overflow="fold")
    table.add_column("why it can go")
    for item in items:
        table.add_row(size(item.bytes), item.what, Text(str(item.path)), Text(item.why))
    out.print(table)
    total = size(sum(item.bytes for item in items))
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(f"{total} could be freed; nothing was deleted", remedy="Add --yes to delete without asking")
        if not typer.confirm(f"Delete these and free {total}?", err=True):
            say("Nothing was deleted.")
            return
    freed, problems = delete(items)
    say(f"Freed {size(freed)}.")
    if problems:
        raise RunError(" ".join(problems))
