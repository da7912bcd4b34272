"""Goes on with a run as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

from glotune.data.reading import read_texts
from glotune.errors import UserError
from glotune.provenance import versions
from glotune.recipe import load_recipe
from glotune.records import Manifest, RunStatus
from glotune.run import Run, carry_out, draw_report, status_kept
from glotune.run_dir import RunDirectory
from glotune.training.control import stopped_by_signals
from glotune.training.observer import Observer, Silent
from glotune.training.plan import choose_device
from glotune.training.processes import Processes


@stopped_by_signals()
def resume(path: str | Path, *, observer: Observer | None = None, report: bool = True) -> Run:
    """Continues an interrupted, failed or killed run from its newest whole checkpoint, under its stored plan.

    A complete run is returned as it is.

    Raises:
        UserError: no run there, it is in use, its data changed, or it was of another kind.
        RunError, InterruptedRun: as `glotune.train`.
    """
    directory = RunDirectory.open(path)
    manifest = directory.read_manifest()
    if manifest.status is RunStatus.COMPLETE:
        return Run(directory)
    recipe = load_recipe(directory.recipe)
    texts = read_texts(recipe.data, recipe.seed)
    refuse_changed_data(manifest, texts.data_hash, directory)
    device = manifest.plan.device if manifest.plan else choose_device(recipe.train.device)[0]
    processes = Processes.start(device)
    with status_kept(directory, processes, fresh=False):
        if processes.is_main:
            count_attempt(directory, manifest, processes.ranks)
        processes.barrier()
        carry_out(directory, recipe, texts, processes, observer or Silent())
    if report:
        draw_report(directory, processes, observer or Silent())
    return Run(directory)


def refuse_changed_data(manifest: Manifest, data_hash: str, directory: RunDirectory) -> None:
    """A run goes on with the texts that it began with, or not at all."""
    if manifest.data_hash != data_hash:
        files = ", ".join(source.path for source in manifest.data)
        raise UserError(
            f"the data of {directory.path} changed since the run began ({files})",
            expected=f"the texts with hash {manifest.data_hash[:16]}, found {data_hash[:16]}",
            remedy="Put the files back, or train anew into another directory",
        )


def count_attempt(directory: RunDirectory, manifest: Manifest, ranks: int = 1) -> None:
    """Counts the attempt, heals the event file, and notes what differs from the run's first machine."""
    directory.heal_events()
    attempt, present = manifest.attempt + 1, versions()
    changed = [
        f"attempt {attempt}: {name} {present[name]} instead of {version}"
        for name, version in manifest.versions.items()
        if name in present and present[name] != version
    ]
    if manifest.plan is not None and manifest.plan.ranks != ranks:
        changed.append(f"attempt {attempt}: {ranks} processes instead of {manifest.plan.ranks}")
    directory.update_manifest(
        status=RunStatus.RUNNING,
        reason=None,
        attempt=attempt,
        deviations=[*manifest.deviations, *changed],
    )
