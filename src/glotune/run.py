"""The spine: one recipe in, one trusted run out."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from glotune.data.cache import cache_folder
from glotune.data.profile import profile
from glotune.data.reading import read_texts
from glotune.data.texts import TextData
from glotune.data.tokenization import tokenize
from glotune.errors import GlotuneError, InterruptedRun, RunError, UserError
from glotune.model.loading import load_tokenizer
from glotune.provenance import hardware, versions
from glotune.recipe import Recipe, load_recipe, recipe_hash, recipe_yaml
from glotune.recipe.loading import Overrides
from glotune.records import Manifest, RunStatus
from glotune.report import write_report
from glotune.run_dir import RunDirectory, now
from glotune.run_lock import locked
from glotune.training.assembly import assemble
from glotune.training.checkpoints import CheckpointStore, Resumption
from glotune.training.closing import judge_and_save, judge_diverged, record_best
from glotune.training.control import StopNow, stopped_by_signals
from glotune.training.loop import DivergedTraining
from glotune.training.observer import Observer, Silent
from glotune.training.plan import choose_device
from glotune.training.prefixes import with_cached_prefix
from glotune.training.processes import Processes
from glotune.training.recorder import Recorder
from glotune.training.retry import restart_gentler
from glotune.training.session import train_to_the_end
from glotune.training.watch import CollapsedTraining

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
"""Errors of a place that can't be written: the machine's fault, which its user can mend."""


@dataclass(frozen=True)
class Run:
    """A run on disk."""

    directory: RunDirectory

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


@stopped_by_signals()
def train(
    recipe: str | Path | Recipe,
    *overrides: Overrides,
    out: str | Path | None = None,
    observer: Observer | None = None,
    command: list[str] | None = None,
    report: bool = True,
    **keywords: Any,
) -> Run:
    """Trains one recipe, from labelled texts to a judged run with a saved model.

    Args:
        recipe: a built-in name, a YAML file or a `Recipe`.
        overrides: lists of ``key.path=value``, or {"key.path": value}.
        out: the run directory; ``runs/NAME-TIME`` otherwise.
        observer: watches; see `glotune.training.observer`.
        command: what the manifest says started the run; the process's own command line otherwise.
        report: draw ``report/`` at the end; ``glotune report RUN`` draws it later.
        keywords: further overrides with ``__`` for the dots: ``train__epochs=3``.

    Raises:
        UserError: the recipe, the data or the model is wrong; nothing is left behind.
        RunError: the run failed; its manifest says why.
        InterruptedRun: it was asked to stop, and can be resumed.
    """
    resolved = load_recipe(recipe, *overrides, keywords)
    texts = read_texts(resolved.data, resolved.seed)
    processes = Processes.start(choose_device(resolved.train.device)[0])
    path = Path(processes.agree(str(run_path(out, resolved.name))))
    if processes.is_main:
        RunDirectory.create(path, recipe_yaml(resolved), first_manifest(resolved, texts, command))
    processes.barrier()
    directory = RunDirectory.open(path)
    with status_kept(directory, processes, fresh=True):
        carry_out(directory, resolved, texts, processes, observer or Silent())
    if report:
        draw_report(directory, processes, observer or Silent())
    return Run(directory)


def carry_out(
    directory: RunDirectory, recipe: Recipe, texts: TextData, processes: Processes, observer: Observer
) -> None:
    """The run itself, in a directory that is open: from texts to the judged model; also goes on where it stopped."""
    manifest = directory.read_manifest()
    recorder = Recorder(directory, observer, manifest.attempt, processes.is_main)
    resumption = open_attempt(directory, recorder, texts)
    tokenizer = load_tokenizer(recipe.model)
    stores = tokenize(
        texts,
        tokenizer,
        recipe.data,
        cache_folder(),
        on_warning=recorder.warn,
        progress=recorder.progress("tokenize"),
    )
    recorder.write_json(directory.data_profile, profile(texts, stores, tokenizer, recipe.data))
    assembled = assemble(recipe, texts, stores, tokenizer, processes, recorder, manifest.plan)
    assembled = with_cached_prefix(assembled, cache_folder(), recorder, manifest.changes)
    if resumption is None:
        recorder.planned(assembled.parts.plan, assembled.changes)
    try:
        state = train_to_the_end(assembled.parts, resumption, recorder)
    except CollapsedTraining as collapse:
        gentler = restart_gentler(directory, recipe, collapse, recorder)
        return carry_out(directory, gentler, texts, processes, observer)
    except DivergedTraining:
        if processes.is_main:
            judge_diverged(directory)
        raise
    record_best(assembled.parts, texts, recorder)
    judge_and_save(assembled, state, tokenizer, recorder)
    return None


def open_attempt(directory: RunDirectory, recorder: Recorder, texts: TextData) -> Resumption | None:
    """Finds where this attempt goes on, and sets the recorder there; None for a start from the first step."""
    resumption = CheckpointStore(directory.checkpoints, keep=1).latest()
    if resumption is not None:
        recorder.at(resumption.state.step, resumption.state.epoch)
        recorder.resumed(resumption.folder.name, resumption.damaged)
        return resumption
    for message in texts.warnings:
        recorder.warn(message)
    return None


def run_path(out: str | Path | None, name: str) -> Path:
    """`out`, or ``runs/NAME-TIME``."""
    if out is not None:
        return Path(out)
    return Path("runs") / f"{name}-{datetime.now().strftime('%Y%m%d-%H%M%S')}"


def first_manifest(recipe: Recipe, texts: TextData, command: list[str] | None) -> Manifest:
    """The manifest of a run that begins now."""
    return Manifest(
        name=recipe.name,
        status=RunStatus.RUNNING,
        created=now(),
        updated=now(),
        seed=recipe.seed,
        recipe_hash=recipe_hash(recipe),
        command=command if command is not None else [Path(sys.argv[0]).name, *sys.argv[1:]],
        labels=texts.labels,
        source_languages=texts.source_languages,
        versions=versions(),
        hardware=hardware(),
        data=texts.sources,
        data_hash=texts.data_hash,
        trust_remote_code=recipe.model.trust_remote_code,
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
            directory.update_manifest(status=RunStatus.COMPLETE, reason=None)
        except (InterruptedRun, KeyboardInterrupt) as error:
            write_end(directory, RunStatus.INTERRUPTED, str(error) or "interrupted")
            if isinstance(error, InterruptedRun | StopNow):
                raise InterruptedRun(f"{error}. Go on with: glotune resume {directory.path}") from error
            raise
        except BaseException as error:
            if fresh and isinstance(error, UserError) and not directory.checkpoints.exists():
                shutil.rmtree(directory.path)
                raise
            write_end(directory, RunStatus.FAILED, f"{type(error).__name__}: {error}")
            if isinstance(error, OSError) and error.errno in UNWRITABLE:
                raise RunError(
                    f"{directory.path} can't be written ({error.strerror}). What was finished is safe: make room "
                    f"there, then go on with: glotune resume {directory.path}"
                ) from error
            raise


def write_end(directory: RunDirectory, status: RunStatus, reason: str) -> None:
    """How the run ended, into its manifest; where even that can't be written, the error itself must do."""
    with suppress(OSError):
        directory.update_manifest(status=status, reason=reason)
