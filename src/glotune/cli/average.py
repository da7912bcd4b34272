"""`glotune average`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer


def average(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished runs: seeds of one recipe.")],
    soup: Annotated[
        Literal["uniform", "greedy"],
        typer.Option(
            help="uniform: the mean over all; greedy: from the best on, each that does not lower the validation score."
        ),
    ] = "uniform",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The run directory. [default: runs/NAME-soup-TIME]", show_default=False),
    ] = None,
) -> None:
    """Make one model of several runs: the mean of their weights, judged like any run.

    The result is a run directory that predict, evaluate, compare and export open. No target label is used.
    """
    from glotune.cli.progress import watch
    from glotune.cli.results import show_run
    from glotune.verbs.average import average as make

    with watch() as observer:
        run = make(runs, soup=soup, out=out, observer=observer, command=["glotune", *sys.argv[1:]])
    show_run(run.path)
