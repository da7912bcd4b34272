"""`glotune stop STUDY`: the study's process takes its runs along; what it leaves behind is stopped one by one."""

from __future__ import annotations

from pathlib import Path

from glotune.run.records import RunStatus
from glotune.run.state import State, read_holder, readable_runs, state_of, state_of_lock
from glotune.run.trials import read_trials
from glotune.study.directory import StudyDirectory
from glotune.verbs.stop import Log, ask, end_at_once, held_elsewhere, stop


def stop_study(folder: Path, *, now: bool = False, timeout: float | None = None, log: Log) -> str:
    """Ends a study and every run of it, and waits until they are gone. One that is not running is left as it is.

    Args:
        folder: the study's.
        now, timeout, log: as `glotune.verbs.stop.stop`.

    Returns:
        One line: how the study stands.

    Raises:
        UserError: the study is another machine's or another user's.
        RunError: it was still busy when the time ran out.
    """
    directory = StudyDirectory(folder)
    state, holder = state_of_lock(directory.lock), read_holder(directory.lock)
    if state is State.ELSEWHERE and holder:
        raise held_elsewhere(folder, holder)
    was_running = state is State.RUNNING
    if was_running and holder and now:
        end_at_once(holder)
    elif was_running and holder:
        ask(holder, directory.lock, timeout, log)
    for run, manifest in (*readable_runs(directory.search / "runs")[0], *readable_runs(directory.runs)[0]):
        if state_of(run, manifest) in (State.RUNNING, State.CRASHED):  # it has no study any more
            log(stop(run, now=now, timeout=timeout, log=log))
    return _outcome(directory, was_running)


def _outcome(directory: StudyDirectory, was_running: bool) -> str:
    planned = len(list(directory.recipes.glob("*.yaml")))
    runs, _ = readable_runs(directory.runs)
    complete = sum(manifest.status is RunStatus.COMPLETE for _, manifest in runs)
    trials = read_trials(directory.search)
    stands = (
        f"{complete} of {planned} runs are complete"
        if planned or not trials
        else (f"{sum(trial.state != 'running' for trial in trials)} trials of its search have ended")
    )
    if not was_running:
        return f"{directory.path} is not running: {stands}. Go on with: glotune study {directory.path}"
    return f"{directory.path} stopped: {stands}. Go on with: glotune study {directory.path}"
