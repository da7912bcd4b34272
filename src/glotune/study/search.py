"""The search of a study: trials one after another or side by side, each planned by what those before it were worth.

Everything that a search knows stands in its folder (`glotune.run.trials`), so that it goes on where it was killed: with
one worker to the same trials as if it never was. Trials see no test text (``data.hide_test``); what the winner is worth
is for the runs with fresh seeds to say.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from glotune.errors import UserError
from glotune.recipe import Recipe, recipe_hash, recipe_yaml
from glotune.recipe.search import FACTOR, FIRST_RUNG, Search
from glotune.recipe.space import Axis, Point, axes_of, own_point, recipe_at
from glotune.recipe.study import PLAIN
from glotune.recipe.study_loading import ResolvedStudy, with_winner
from glotune.run.directory import RunDirectory, write_atomically
from glotune.run.history import read_history
from glotune.run.records import Manifest, RunStatus
from glotune.run.trials import (
    ABOUT,
    RUNGS,
    TRIALS,
    SearchRecord,
    Trial,
    best_of,
    read_rungs,
    read_search,
    read_trials,
)
from glotune.stats.traits import trait
from glotune.study.directory import StudyDirectory, append_line
from glotune.study.execute import HOPELESS, carry_out, score_words
from glotune.study.measures import measured
from glotune.study.plan import PlannedRun
from glotune.study.progress import Watcher
from glotune.study.workers import Workers
from glotune.verbs.clean import remove

SAME_AGAIN = 25
"""So often another point is asked for where the one suggested was tried before; then the space counts as exhausted."""
HOPELESS_START = 3
"""Where so many trials failed before any had a result, the next one would too."""
TRIAL_ONLY = {"data.hide_test": True, "evaluate.baselines": False, "evaluate.test": "never", "track": []}
"""What a trial is trained with, whatever the recipe says: nothing of it can change a validation score."""
Suggest = Callable[[Search, Sequence[Axis], Sequence[Trial], int, bool], Point]


def search(
    resolved: ResolvedStudy, directory: StudyDirectory, workers: Callable[[StudyDirectory], Workers], watcher: Watcher
) -> ResolvedStudy:
    """The study with the winner of its search, which is carried out first where it has not ended.

    Args:
        resolved: a study with a section `search`.
        directory: its folder.
        workers: makes what carries trials out, of the folder of the search.
        watcher: sees the progress.

    Raises:
        UserError: as `open_search`, or it ended without one sound trial.
        InterruptedRun, RunError: as `glotune.study.execute.carry_out`.
    """
    place, record = StudyDirectory(directory.search), open_search(resolved, directory)
    if record.winner is None:
        _carry_out(resolved, record, place, workers, watcher)
    return with_found(resolved, directory)


def with_found(resolved: ResolvedStudy, directory: StudyDirectory) -> ResolvedStudy:
    """The study with the winner that stands in its folder.

    Raises:
        UserError: its search has not ended.
    """
    record = read_search(directory.search)
    trials = {trial.number: trial for trial in read_trials(directory.search)}
    if record is None or record.winner is None or record.winner not in trials:
        raise UserError(
            f"the search of {directory.path} has not ended: {len(trials)} trials so far",
            expected="a winner, which is then trained with the study's seeds",
            remedy=f"Go on with: glotune study {directory.path}",
        )
    return with_winner(resolved, trials[record.winner].values)


def open_search(resolved: ResolvedStudy, directory: StudyDirectory) -> SearchRecord:
    """The record of the search, written before its first trial.

    Raises:
        UserError: another search stands in the folder.
    """
    place = StudyDirectory(directory.search)
    asked, plain = _section(resolved), resolved.variants[PLAIN]
    metric = plain.evaluate.metric
    made = SearchRecord(
        content=asked.model_dump(mode="json", exclude={"budget"}),
        recipe=recipe_hash(plain.model_copy(update={"seed": asked.seed})),
        metric=metric,
        on=asked.on,
        higher_is_better=trait(metric).higher_is_better,
        first_rung=FIRST_RUNG if asked.pruning == "asha" else None,
        factor=FACTOR,
    )
    known = read_search(place.path)
    if known is None:
        for folder in (place.recipes, place.runs, place.logs):
            folder.mkdir(parents=True, exist_ok=True)
        _write(made, place)
        return made
    if (known.content, known.recipe) != (made.content, made.recipe):
        raise UserError(
            f"{place.path} holds another search, or one over another recipe",
            expected="the search that the folder was made for (its budget alone may change until it has ended)",
            remedy="Name another folder with --out",
        )
    return known


def _section(resolved: ResolvedStudy) -> Search:
    if resolved.study.search is None:
        raise ValueError(f"{resolved.study.name} does not search")
    return resolved.study.search


def _write(record: SearchRecord, place: StudyDirectory) -> None:
    write_atomically(place.path / ABOUT, record.model_dump_json(indent=1) + "\n")


def _carry_out(
    resolved: ResolvedStudy,
    record: SearchRecord,
    place: StudyDirectory,
    workers: Callable[[StudyDirectory], Workers],
    watcher: Watcher,
) -> None:
    from glotune.study.sampler import require_optuna

    require_optuna()
    trials = Trials(resolved, record, place, _suggest)
    for line in about(resolved) if trials.all else ():  # where it goes on; before its first trial it was said already
        watcher.say(line)
    budget = _section(resolved).budget
    carry_out([trials.run(each) for each in trials.under_way], place, workers(place), watcher, trials, budget.runs)
    best = best_of(trials.all, higher_is_better=record.higher_is_better)
    if best is None:
        raise _nothing_sound(trials.all, place)
    _write(record.model_copy(update={"winner": best.number, "ended": trials.why_no_more}), place)
    watcher.say(
        f"The search has ended: {trials.why_no_more}. Best of {len(trials.all)} trials: {best.name}, "
        f"{score_words(record.metric, best.value or 0.0)} on {record.on} validation texts, which it was chosen by "
        f"({', '.join(f'{key}={_shown(value)}' for key, value in best.values.items())})"
    )


def _suggest(
    asked: Search, axes: Sequence[Axis], trials: Sequence[Trial], attempt: int, higher_is_better: bool
) -> Point:
    from glotune.study.sampler import suggest

    return suggest(asked, axes, trials, attempt, higher_is_better=higher_is_better)


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def about(resolved: ResolvedStudy) -> list[str]:
    """What is going to be searched, and a warning where that needs labels of the targets."""
    asked, plain = _section(resolved), resolved.variants[PLAIN]
    budget = asked.budget
    until = " or ".join(
        ([f"{budget.runs} trials"] if budget.runs else []) + ([f"{budget.minutes:g} minutes"] if budget.minutes else [])
    )
    lines = [
        f"Search over {', '.join(asked.space)}: {until}, judged by {plain.evaluate.metric} on {asked.on} validation "
        f"texts; then the winner and the plain recipe with seeds {', '.join(map(str, resolved.study.seeds))}"
    ]
    if asked.on == "target":
        lines.append("warning: an oracle: the search is judged on validation texts of the target languages (search.on)")
    return lines


def _nothing_sound(trials: Sequence[Trial], place: StudyDirectory) -> UserError:
    """Why the search found nothing."""
    counts: dict[str, int] = {}
    for trial in trials:
        counts[trial.outcome] = counts.get(trial.outcome, 0) + 1
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "none was begun"
    reason = next((trial.reason for trial in reversed(trials) if trial.reason), None)
    return UserError(
        f"the search ended without one sound trial ({len(trials)} trials: {told})" + (f": {reason}" if reason else ""),
        where=str(place.path),
        expected="a trial that learns: not collapsed, diverged or without skill on the validation texts",
        remedy=f"See {place.logs}"
        if any(trial.state == "failed" for trial in trials)
        else "Lower the learning rates of the space, add warmup, or give more texts; the same command goes no further, "
        "so name another folder with --out",
    )


@dataclass
class Trials:
    """The trials of a search so far, and the next one (`glotune.study.execute.Supply`)."""

    resolved: ResolvedStudy
    record: SearchRecord
    place: StudyDirectory
    suggest: Suggest
    clock: Callable[[], float] = time.monotonic
    all: list[Trial] = field(init=False)
    why_no_more: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.search = _section(self.resolved)
        self.axes = axes_of(self.search)
        self.all = read_trials(self.place.path)
        self._before = max((trial.elapsed for trial in self.all), default=0.0)
        self._started = self.clock()
        self.earlier = [trial.name for trial in self.all if trial.state != "running"]

    @property
    def under_way(self) -> list[Trial]:
        """Trials that an earlier session began and did not see the end of."""
        return [trial for trial in self.all if trial.state == "running"]

    @property
    def elapsed(self) -> float:
        """Seconds of search, over all sessions."""
        return self._before + self.clock() - self._started

    def run(self, trial: Trial) -> PlannedRun:
        """The run of a trial."""
        return PlannedRun(trial.name, trial.name, self.search.seed, None, self._recipe(trial.values, trial.name))

    def next(self) -> PlannedRun | None:
        """Plans the next trial, unless the budget or the space is exhausted."""
        self.why_no_more = self._why_no_more()
        if self.why_no_more:
            return None
        found = self._new_point()
        if found is None:
            self.why_no_more = f"the space has no point that was not tried among {len(self.all)} trials"
            return None
        point, is_plain = found
        trial = Trial(number=len(self.all), values=point, is_plain=is_plain, elapsed=self.elapsed)
        run = self.run(trial)
        write_atomically(self.place.recipes / f"{run.name}.yaml", recipe_yaml(run.recipe))
        self.all.append(trial)
        self._note(trial)
        return run

    def ended(self, run: PlannedRun, failed: str | None) -> str:
        """Books what a trial was worth, and deletes its weights: the winner is trained anew."""
        trial = next(each for each in self.all if each.name == run.name)
        booked = self._booked(trial, RunDirectory(self.place.runs / run.name), failed)
        self.all[trial.number] = booked
        self._note(booked)
        _drop_weights(RunDirectory(self.place.runs / run.name))
        if booked.state == "failed":
            return f"failed: {booked.reason}"
        score = "no score" if booked.value is None else score_words(self.record.metric, booked.value)
        how = booked.outcome if booked.state != "complete" else str(booked.verdict)
        at = f" after epoch {booked.epochs:g}" if booked.state == "pruned" else ""
        return f"{score} on {self.record.on} validation, {how}{at}"

    def _why_no_more(self) -> str:
        budget = self.search.budget
        if budget.runs is not None and len(self.all) >= budget.runs:
            return f"its budget of {budget.runs} trials is used"
        if budget.minutes is not None and self.elapsed >= 60 * budget.minutes:
            return f"its budget of {budget.minutes:g} minutes is used"
        ended = [trial for trial in self.all if trial.state != "running"]
        if len(ended) >= HOPELESS_START and all(trial.state == "failed" for trial in ended):
            return f"its first {len(ended)} trials failed"
        return ""

    def _new_point(self) -> tuple[Point, bool] | None:
        """A point that was not tried before, and whether it is the recipe's own; None where none is left."""
        if not self.all and (own := self._own_point()) is not None:
            return own, True
        tried = {json.dumps(trial.values, sort_keys=True) for trial in self.all}
        for attempt in range(SAME_AGAIN):
            point = self.suggest(self.search, self.axes, self.all, attempt, self.record.higher_is_better)
            if json.dumps(point, sort_keys=True) not in tried:
                return point, False
        return None

    def _own_point(self) -> Point | None:
        return own_point(self.resolved.shared, self.axes, self.search)

    def _recipe(self, point: Point, name: str) -> Recipe:
        shared, where = self.resolved.shared, f"study {self.resolved.study.name}, {name}"
        return recipe_at(shared, {**point, **TRIAL_ONLY}, name, self.search.seed, where)

    def _booked(self, trial: Trial, run: RunDirectory, failed: str | None) -> Trial:
        changed: dict[str, object] = {"state": "failed", "reason": failed, "elapsed": self.elapsed}
        manifest = _manifest_of(run)
        if manifest is not None:
            history = read_history(run.events())
            costs = measured(run)
            changed |= {"epochs": costs["epochs"], "seconds": costs["train_seconds"]}
            changed |= {"verdict": manifest.verdict.status if manifest.verdict else None}
            if failed is None:
                states = {RunStatus.COMPLETE: "complete", RunStatus.PRUNED: "pruned"}
                changed |= {"state": states[manifest.status], "value": history.best.get("value")}
        elif failed is None:
            changed["reason"] = "it left no run"
        if failed is not None and failed.startswith(HOPELESS):
            changed["verdict"] = "diverged"
        if changed["state"] == "pruned":  # its last step may lie beyond the epoch at which that was decided
            mine = [rung for rung in read_rungs(self.place.path / RUNGS) if rung.run == trial.name]
            changed |= {"epochs": float(mine[-1].epoch), "value": mine[-1].value} if mine else {}
        return trial.model_copy(update=changed)

    def _note(self, trial: Trial) -> None:
        append_line(self.place.path / TRIALS, trial.model_dump_json())


def _manifest_of(run: RunDirectory) -> Manifest | None:
    """None of a run that was lost before it had one, or whose own was cut off."""
    try:
        return run.read_manifest() if run.manifest_path.exists() else None
    except UserError:
        return None


def _drop_weights(run: RunDirectory) -> None:
    there = [folder for folder in (run.checkpoints, run.model, run.adapter) if folder.exists()]
    for folder in there:
        remove(folder)
    if there and (manifest := _manifest_of(run)) is not None:
        run.update_manifest(notes=[*manifest.notes, "a trial of a search: its weights were deleted at its end"])
