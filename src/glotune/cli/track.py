"""`glotune track`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def track(
    run: Annotated[Path, typer.Argument(help="The directory of a run: finished, offline or in progress.")],
    to: Annotated[str, typer.Option("--to", help="tensorboard, wandb, trackio or mlflow.")],
    patience: Annotated[float, typer.Option("--patience", min=0, help="Seconds to retry in an outage.")] = 60.0,
) -> None:
    """Send a run to a tracker: parameters, curves, scores per language, pictures, report and model card.

    A run in progress is followed to its end. What was sent before is not sent again. Account, project and server come
    from the tracker's own settings (e.g. wandb login, WANDB_PROJECT, MLFLOW_TRACKING_URI).
    """
    from glotune.cli.console import say
    from glotune.run.directory import RunDirectory
    from glotune.tracking.sending import Pace, Sender
    from glotune.verbs.trackers import check_trackers

    directory = RunDirectory.open(run)
    check_trackers([to])
    Sender(directory, to, say, Pace(patience=patience)).send()
