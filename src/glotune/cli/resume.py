"""`glotune resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def resume(run: Annotated[Path, typer.Argument(metavar="RUN", help="The directory of an unfinished run.")]) -> None:
    """Go on with a run that was interrupted, from its last checkpoint, to the same result."""
    from glotune.cli.console import say
    from glotune.cli.progress import watch
    from glotune.cli.results import show_run
    from glotune.run.directory import RunDirectory
    from glotune.run.records import RunStatus

    # A wrong path is reported before torch is imported.
    if RunDirectory.open(run).read_manifest().status is RunStatus.COMPLETE:
        say(f"{run} is complete: there is nothing to go on with. This is what it found.")

    from glotune.verbs.resume import resume as resume_run

    with watch() as observer:
        resumed = resume_run(run, observer=observer)
    if resumed.manifest.kind == "pretrain":
        from glotune.cli.pretrain import show_pretraining

        show_pretraining(run)
    else:
        show_run(run)
