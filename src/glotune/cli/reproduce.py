"""`glotune reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a complete run; it is not changed.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Directory of the second run; runs/NAME-reproduced-TIME by default."),
    ] = None,
) -> None:
    """Run a run again from its directory alone; say equal, or where it differs (then the exit code is 1)."""
    from glotune.cli.console import say, show
    from glotune.cli.progress import watch
    from glotune.errors import EXIT_FAILURE
    from glotune.run.directory import RunDirectory

    RunDirectory.open(run)  # a wrong path is reported before torch is imported

    from glotune.verbs.reproduce import reproduce as run_again

    with watch() as observer:
        found = run_again(run, out=out, observer=observer)
    if found.circumstances:
        say("Run under other conditions:")
        for line in found.circumstances:
            say(f"  {line}")
    if found.is_equal and found.run is not None:
        show(f"equal: weights, metrics, predictions and events of {found.run.path} are those of {run}, bit for bit")
        return
    show("different data: nothing was run" if found.data else "different numbers")
    for line in found.data + found.numbers:
        show(f"  {line}")
    raise typer.Exit(EXIT_FAILURE)
