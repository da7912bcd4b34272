"""How a run begins and ends on disk: its directory, its manifest, its status, its report."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from glotune.data.texts import TextData
from glotune.engine.checkpoints import CheckpointStore, Resumption
from glotune.engine.loop import PrunedTraining
from glotune.engine.observer import Observer
from glotune.engine.processes import Processes, StopNow
from glotune.engine.recorder import Recorder
from glotune.errors import GlotuneError, InterruptedRun, RunError, UserError
from glotune.recipe import Recipe, recipe_hash, recipe_yaml
from glotune.recipe.paths import is_folder
from glotune.recipe.pretrain import PretrainRecipe
from glotune.report import write_report
from glotune.run.directory import Occupied, RunDirectory, now
from glotune.run.lock import locked
from glotune.run.provenance import hardware, versions
from glotune.run.records import Manifest, RunStatus
from glotune.whole_files import numbered

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
"""Errors of a place that can't be written: the machine's fault, which its user can mend."""


@dataclass(frozen=True)
class Run:
    """A run on disk."""

    directory: RunDirectory

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.manifest.status})"

    @property
    def path(self) -> Path:
        return self.directory.path

    @property
    def manifest(self) -> Manifest:
        return self.directory.read_manifest()

    @property
    def metrics(self) -> dict[str, Any]:
        """Split -> language -> scores, as in ``metrics.json``."""
        return self.directory.read_metrics()


def open_run(
    out: str | Path | None,
    recipe: Recipe | PretrainRecipe,
    texts: TextData,
    processes: Processes,
    command: list[str] | None,
    data: Path | None = None,
    name: str | None = None,
) -> RunDirectory:
    """Makes the directory of a run that begins now; the main rank writes, every rank opens.

    Args:
        data: a folder with texts that the run itself keeps; None where all lie in files elsewhere.
        out, name: as `create_run`; the recipe's name by default.

    Raises:
        UserError: the place holds something, or can't be written.
    """
    path = ""
    if processes.is_main:
        manifest = first_manifest(recipe, texts, command)
        path = str(create_run(out, name or recipe.name, recipe_yaml(recipe), manifest, data).path)
    return RunDirectory.open(processes.agree(path))


def create_run(
    out: str | Path | None, name: str, recipe: str, manifest: Manifest, data: Path | None = None
) -> RunDirectory:
    """Makes a run directory: `out`, or ``runs/NAME-TIME`` with a number appended where that is taken.

    Raises:
        UserError: `out` holds something, or the place can't be written.
    """
    if out is not None:
        return RunDirectory.create(Path(out), recipe, manifest, data)
    for path in numbered(Path("runs") / f"{name}-{datetime.now().strftime('%Y%m%d-%H%M%S')}"):
        with suppress(Occupied):
            return RunDirectory.create(path, recipe, manifest, data)
    raise AssertionError("there is always another number")


def first_manifest(recipe: Recipe | PretrainRecipe, texts: TextData, command: list[str] | None) -> Manifest:
    """The manifest of a run that begins now."""
    return Manifest(
        kind="train" if isinstance(recipe, Recipe) else "pretrain",
        name=recipe.name,
        status=RunStatus.RUNNING,
        created=now(),
        updated=now(),
        seed=recipe.seed,
        recipe_hash=recipe_hash(recipe),
        command=command if command is not None else [Path(sys.argv[0]).name, *sys.argv[1:]],
        task=recipe.task if isinstance(recipe, Recipe) else "single_label",
        labels=texts.labels,
        source_languages=texts.source_languages,
        versions=versions(),
        hardware=hardware(),
        data=texts.sources,
        data_hash=texts.data_hash,
        trust_remote_code=recipe.model.trust_remote_code,
        encoder_is_folder=recipe.model.name is not None and is_folder(recipe.model.name),
    )


def open_attempt(directory: RunDirectory, recorder: Recorder, texts: TextData) -> Resumption | None:
    """Finds where this attempt goes on, and sets the recorder there; None for a start from the first step."""
    store = CheckpointStore(directory.checkpoints, keep=1)
    resumption = store.latest()
    if resumption is not None:
        recorder.at(resumption.state.step, resumption.state.epoch)
        recorder.resumed(resumption.folder.name, resumption.damaged)
        return resumption
    for message in (*store.passed_over, *texts.warnings):
        recorder.warn(message)
    return None


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


def draw_report(directory: RunDirectory, processes: Processes, observer: Observer) -> None:
    """Draws the report of a complete run. A picture that can't be drawn harms no run: it is said, and drawn later."""
    if not processes.is_main:
        return
    try:
        write_report(directory)
    except (GlotuneError, OSError, ValueError, ArithmeticError, LookupError) as error:
        observer.log(
            f"warning: the report was not drawn ({type(error).__name__}: {error}). "
            f"Draw it with: glotune report {directory.path}"
        )


@contextmanager
def status_kept(directory: RunDirectory, processes: Processes, *, fresh: bool) -> Iterator[None]:
    """Holds the run's lock, and writes down how the run ended.

    A user's mistake that comes to light before the first step of a fresh run leaves no directory behind.
    """
    if not processes.is_main:
        yield
        return
    with locked(directory.lock):
        try:
            yield
            directory.update_manifest(status=RunStatus.COMPLETE, reason=None, outputs=directory.hashes())
        except (InterruptedRun, KeyboardInterrupt) as error:
            write_end(directory, RunStatus.INTERRUPTED, str(error) or "interrupted")
            if isinstance(error, InterruptedRun | StopNow):
                raise InterruptedRun(f"{error}. Go on with: glotune resume {directory.path}") from error
            raise
        except PrunedTraining as error:
            write_end(directory, RunStatus.PRUNED, str(error))
            raise
        except BaseException as error:
            begun = directory.checkpoints.exists() or directory.rounds.exists()
            if fresh and isinstance(error, UserError) and not begun:
                directory.withdraw()
                raise
            if processes.lost_another(error):
                error = RunError(
                    f"another of the {processes.ranks} processes ended. What was checkpointed is safe: go on with any "
                    f"number of processes by: glotune resume {directory.path}"
                )
            write_end(directory, RunStatus.FAILED, f"{type(error).__name__}: {error}")
            if isinstance(error, OSError) and error.errno in UNWRITABLE:
                raise RunError(
                    f"{directory.path} can't be written ({error.strerror}). What was finished is safe: make room "
                    f"there, then go on with: glotune resume {directory.path}"
                ) from error
            raise error


def write_end(directory: RunDirectory, status: RunStatus, reason: str) -> None:
    """How the run ended, into its manifest; where even that can't be written, the error itself must do."""
    with suppress(OSError):
        directory.update_manifest(status=status, reason=reason)
