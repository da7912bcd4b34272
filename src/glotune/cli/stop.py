"""`glotune stop`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def stop(
    run: Annotated[Path, typer.Argument(help="The directory of a run or study in progress.")],
    now: Annotated[
        bool, typer.Option("--now", help="Kill it at once; a resume repeats the steps since the last checkpoint.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, help="Seconds to wait for its step and checkpoint.")
    ] = None,
) -> None:
    """Stop a run: it finishes its step, saves a checkpoint and can be resumed to the same result.

    Of a study all runs under way are stopped so, and no other begins.
    """
    from glotune.cli.console import say
    from glotune.run.directory import RunDirectory
    from glotune.study.redraw import is_study
    from glotune.study.stopping import stop_study
    from glotune.verbs.stop import stop as stop_run

    if (run / "launch.json").is_file():  # it runs elsewhere
        from glotune.cli.cloud import stop as stop_elsewhere

        stop_elsewhere(run)
        return
    if is_study(run):
        say(stop_study(run, now=now, timeout=timeout, log=say))
        return
    say(stop_run(RunDirectory.open(run), now=now, timeout=timeout, log=say))
