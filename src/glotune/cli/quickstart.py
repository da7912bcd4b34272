"""`glotune quickstart`: a built-in recipe on the same path as any other, with its directory fixed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DIRECTORY = Path("runs") / "quickstart"


def quickstart(
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete runs/quickstart and start again.")] = False,
) -> None:
    """Train the built-in toy example offline, English to other languages, in under two minutes.

    Called again it shows the finished run, or goes on with an unfinished one.
    """
    from glotune.cli.console import say
    from glotune.cli.results import show_run
    from glotune.cli.resume import resume
    from glotune.cli.train import train
    from glotune.run.directory import RunDirectory
    from glotune.run.records import RunStatus

    if fresh and DIRECTORY.exists():
        _delete(DIRECTORY)
    if not (DIRECTORY / "manifest.json").exists():
        train("quickstart", [], out=DIRECTORY)
        return
    run = RunDirectory.open(DIRECTORY)
    if run.read_manifest().status is RunStatus.COMPLETE:
        say(f"{DIRECTORY} is complete; this is its result. Start again with: glotune quickstart --fresh")
        show_run(DIRECTORY)
    else:
        say(f"{DIRECTORY} is unfinished; going on with it. Start again with: glotune quickstart --fresh")
        resume(DIRECTORY)


def _delete(directory: Path) -> None:
    """Deletes a run, moved aside first so that no half of it can be taken for a run."""
    import shutil

    from glotune.run.directory import RunDirectory
    from glotune.run.lock import locked
    from glotune.whole_files import resolved

    run = RunDirectory.open(resolved(directory))  # refuses what is no run of ours
    aside = run.path.with_name(f".{run.path.name}.deleted")
    shutil.rmtree(aside, ignore_errors=True)
    with locked(run.lock):  # refuses a run that is being written
        run.path.rename(aside)
    shutil.rmtree(aside)
