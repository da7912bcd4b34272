"""`glotune calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def calibrate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")],
    threshold: Annotated[
        Literal["macro_f1", "accuracy", "mcc"] | None,
        typer.Option(help="Also fit a decision threshold that maximises this metric, for two classes."),
    ] = None,
) -> None:
    """Fit a temperature (and a threshold) on the run's validation texts; the model stays as it is.

    The result is calibration.json in the run directory, applied by: glotune predict RUN --calibrated
    """
    from glotune.cli.console import show
    from glotune.run.directory import RunDirectory
    from glotune.verbs.calibrate import calibrate as fit

    directory = RunDirectory.open(run)
    found = fit(directory, threshold)
    what = (
        "annotated labels of validation texts"
        if directory.read_manifest().task == "multi_label"
        else "validation texts"
    )
    show(f"temperature {found.temperature:.4f}, fitted on {found.n} {what} ({', '.join(found.languages)})")
    if found.reason:
        show(f"No temperature could be fitted: {found.reason}")
    how = "cross-fitted: each fifth of the texts by what the others fit" if found.cross_fitted else "on the same texts"
    show(f"loss {found.loss_before:.4f} -> {found.loss_after:.4f} ({how})")
    show(f"expected calibration error {found.ece_before:.4f} -> {found.ece_after:.4f} ({how}); a perfectly calibrated")
    show(f"  model would show {found.ece_floor:.4f} on {found.n} of them")
    if found.threshold is not None:
        label = directory.read_manifest().labels[1]
        show(f"threshold {found.threshold:.4f}: '{label}' from there on, chosen by {found.metric}")
        show(f"{found.metric} {found.metric_before:.4f} -> {found.metric_after:.4f} ({how})")
    show(f"written to {directory.calibration}; apply it with: glotune predict {run} --calibrated")
