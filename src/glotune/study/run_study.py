"""A study from its plan to its report; called again, it goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from glotune.errors import UserError
from glotune.recipe.study_loading import FULL, ResolvedStudy
from glotune.run.lock import locked
from glotune.run.trials import read_search
from glotune.study.directory import StudyDirectory
from glotune.study.execute import Outcome, carry_out
from glotune.study.local import LocalWorkers
from glotune.study.locked_plan import lock_plan, with_dropped
from glotune.study.on_ray import Needs, RayWorkers, connected
from glotune.study.plan import StudyPlan, check_texts, few_seeds, plan_runs, refuse_unanswerable, write_recipes
from glotune.study.power import plan_lines
from glotune.study.progress import SilentWatcher, Watcher
from glotune.study.sampler import require_optuna
from glotune.study.search import open_search, search
from glotune.study.summarise import Summary, write_summary
from glotune.study.workers import Workers


@dataclass(frozen=True)
class FinishedStudy:
    """A study all of whose runs ended."""

    directory: StudyDirectory
    plan: StudyPlan
    outcome: Outcome
    summary: Summary


def run_study(
    resolved: ResolvedStudy,
    out: Path | None = None,
    *,
    jobs: int | None = None,
    watcher: Watcher | None = None,
    on: str | None = None,
    needs: Needs | None = None,
) -> FinishedStudy:
    """Trains every run of a study that is not finished, and writes its report.

    May be killed at any time: called again with the same study and folder it repeats no finished run, continues the
    one that was cut off from its newest checkpoint, and writes the same report.

    Args:
        resolved: the study at one scale.
        out: its folder; ``runs/NAME`` or ``runs/NAME-SCALE`` otherwise.
        jobs: runs at a time, each a process; here they share the cores (1), a cluster begins what it has room for.
        watcher: sees the progress.
        on: a Ray cluster instead of this machine: ``ray`` or ``ray://HOST:PORT``.
        needs: what one run occupies there.

    Raises:
        UserError: the data, a recipe, the folder or the cluster is wrong; told before the first run.
        RunError: the cluster was lost.
        InterruptedRun: asked to stop; the runs under way made their checkpoints.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"{jobs} jobs", expected="at least 1")
    watching = watcher or SilentWatcher()
    directory = StudyDirectory(out or default_folder(resolved))

    def workers(place: StudyDirectory) -> Workers:
        return LocalWorkers(place, jobs or 1) if on is None else RayWorkers(place, needs or Needs(), jobs)

    if (message := few_seeds(resolved)) is not None:
        watching.say(f"warning: {message}")
    if resolved.study.search is not None and read_search(directory.search) is None:
        require_optuna()
    if not directory.study.exists():  # a mistake in the data leaves nothing behind
        study = resolved.study
        for message in check_texts(resolved.variants.values(), need_test=study.search is not None, claims=study.claims):
            watching.say(f"warning: {message}")
        for line in plan_lines(resolved):
            watching.say(line)
    refuse_unanswerable(resolved)
    with ExitStack() as held:
        if on is not None:
            held.enter_context(connected(on))
        directory.create()
        held.enter_context(_only_one(directory))
        if resolved.study.search is not None:
            open_search(resolved, directory)
            _lock(resolved, directory, watching)
            resolved = search(resolved, directory, workers, watching)
        plan = with_dropped(resolved, directory, lambda each: plan_runs(each, directory))
        write_recipes(plan, directory)
        _lock(resolved, directory, watching)
        outcome = carry_out(list(plan.runs), directory, workers(directory), watching)
        watching.say("Writing the report")
        summary = write_summary(plan, outcome.failed, directory)
    return FinishedStudy(directory, plan, outcome, summary)


def _lock(resolved: ResolvedStudy, directory: StudyDirectory, watcher: Watcher) -> None:
    """Locks the plan, or says what changed since, and writes the study down, to be gone on with by its folder."""
    for amended in lock_plan(resolved, directory):
        watcher.say(f"The plan is amended: {amended}")
    directory.write_study({"scale": resolved.scale, **resolved.study.model_dump()})


def default_folder(resolved: ResolvedStudy) -> Path:
    """``runs/NAME``, with the scale's name where it is not the full one."""
    name = resolved.study.name
    return Path("runs") / (name if resolved.scale == FULL else f"{name}-{resolved.scale}")


@contextmanager
def _only_one(directory: StudyDirectory) -> Iterator[None]:
    """One process carries a study out at a time."""
    with locked(directory.lock):
        yield
