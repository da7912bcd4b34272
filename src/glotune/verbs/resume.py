"""Goes on with a run as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

from glotune.data.reading import read_again
from glotune.data.streams import refuse_streams
from glotune.engine.observer import Observer, Pruner, watching
from glotune.engine.plan import device_of
from glotune.engine.processes import Processes, stopped_by_signals
from glotune.recipe import load_recipe
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from glotune.verbs.distill import open_lesson
from glotune.verbs.lifecycle import Run, count_attempt, draw_report, refuse_changed_data, status_kept
from glotune.verbs.self_training import open_rounds
from glotune.verbs.train import carry_out


@stopped_by_signals()
def resume(
    path: str | Path, *, observer: Observer | None = None, report: bool = True, pruner: Pruner | None = None
) -> Run:
    """Continues an interrupted, failed or killed run from its newest whole checkpoint, under its stored plan.

    A complete run is returned as it is.

    Raises:
        UserError: no run there, it is in use, its data changed, or it was of another kind.
        RunError, InterruptedRun, PrunedTraining: as `glotune.train`.
    """
    directory = RunDirectory.open(path)
    manifest = directory.read_manifest()
    if manifest.status is RunStatus.COMPLETE:
        return Run(directory)
    if manifest.kind == "pretrain":
        from glotune.verbs.pretrain import resume_pretraining

        return resume_pretraining(path, observer=observer)
    recipe = load_recipe(directory.recipe)
    refuse_streams(recipe.data, "a run that goes on")
    texts = read_again(recipe.data, recipe.seed, manifest.labels, recipe.task)
    refuse_changed_data(manifest, texts.data_hash, directory)
    lesson = open_lesson(recipe, texts, directory.path, manifest)
    rounds = open_rounds(recipe, texts, manifest)
    device = device_of(manifest.plan, recipe.train.device)
    processes = Processes.start(device, deterministic=recipe.train.deterministic)
    with status_kept(directory, processes, fresh=False):
        manifest = directory.read_manifest()  # again, under the lock: another process may have gone on meanwhile
        if manifest.status is RunStatus.COMPLETE:
            return Run(directory)
        if processes.is_main:
            count_attempt(directory, manifest, processes.ranks)
        processes.barrier()
        carry_out(directory, recipe, texts, lesson, rounds, processes, watching(observer), pruner)
    if report:
        draw_report(directory, processes, watching(observer))
    return Run(directory)
