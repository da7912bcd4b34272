"""``plan.json`` of a study: what was planned before its first run, what changed since, and each look at its claims.

A claim says something only if it was made before the result. So the first run locks claims, seeds, level and metric;
changes stay possible, and are shown as amendments with what was known when they were made. A seed that is dropped
after it was trained still counts, and a claim that is withdrawn after runs were complete is still tested beside the
others, so that neither buys a better answer.

Looking again after more seeds is another chance to be wrong. Each look at new runs therefore spends a part of what
the looks before it left of the error: alpha spending (Lan and DeMets 1983, Biometrika 70:659), with Bonferroni's bound
over the looks in place of their joint distribution. The parts add up to the level however many looks there will be, so
that their number need not be planned. Answering again on the same runs is no new look.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, product
from typing import Any

from pydantic import Field, ValidationError

from glotune.errors import UserError
from glotune.recipe import Recipe
from glotune.recipe.study import PLAIN, StudyClaim
from glotune.recipe.study_loading import ResolvedStudy
from glotune.run.directory import RunDirectory, now, write_atomically
from glotune.run.record import SCHEMA, Count, Record
from glotune.study.directory import StudyDirectory
from glotune.study.execute import state_of
from glotune.study.out_of_fold import is_complete
from glotune.study.plan import PlannedRun, StudyPlan

TARGETS = "targets"
"""What claims are about where neither they nor their study name a language."""
SPENT = 0.8
"""The part of the error that is left which a look spends: a study that is run as it was planned loses little."""


class Amendment(Record):
    """One change to a locked plan."""

    time: str
    runs: Count
    """Runs that were complete when it was made."""
    what: str
    before: Any = None
    after: Any = None


class Look(Record):
    """One time that the claims were tested."""

    time: str
    evidence: str
    """Hash over the runs and their scores: the same runs again are the same look."""
    runs: list[str]
    level: float
    """One minus the error that it spent."""
    answers: dict[str, str]


class LockedPlan(Record):
    """The plan of a study, in the order in which things happened."""

    schema_version: int = SCHEMA
    locked: str
    """When, UTC."""
    runs: Count
    """Runs that were complete then: 0 for a plan that came before its results."""
    hash: str
    """SHA-256 of `content`."""
    content: dict[str, Any]
    """What was planned."""
    current: dict[str, Any]
    """What is planned now."""
    amendments: list[Amendment] = Field(default_factory=list)
    looks: list[Look] = Field(default_factory=list)
    seal: str = ""
    """SHA-256 of all the rest: a file that was changed by hand does not pass for what the study wrote."""

    @property
    def withdrawn(self) -> list[StudyClaim]:
        """Claims that stood while runs were complete and stand no more, as they were stated. One that is put into other
        words asks what it asked, and still stands."""
        stood = [each.before for each in self.amendments if each.what.startswith("claim") and each.runs and each.before]
        stood = [_with_language(claim, self.content["language"]) for claim in stood]
        asked = [_question(claim) for claim in _claims(self.current)]
        gone = {json.dumps(_question(claim)): claim for claim in stood if _question(claim) not in asked}
        return [StudyClaim.model_validate(claim) for claim in gone.values()]

    @property
    def added_later(self) -> set[str]:
        """Names of claims that were first stated, or changed in more than words, when runs were complete already."""
        if self.runs:
            return {each["name"] for each in self.current["claims"]}
        early = [
            each.after for each in self.amendments if each.what.startswith("claim") and not each.runs and each.after
        ]
        early = [_with_language(claim, self.content["language"]) for claim in early]
        asked = [_question(claim) for claim in (*_claims(self.content), *early)]
        return {claim["name"] for claim in _claims(self.current) if _question(claim) not in asked}


def _question(claim: Mapping[str, Any]) -> dict[str, Any]:
    """What a claim asks, whatever its words."""
    return {key: value for key, value in claim.items() if key != "name"}


def _claims(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The claims of a plan, each with its languages."""
    return [_with_language(claim, content["language"]) for claim in content["claims"]]


def _with_language(claim: Mapping[str, Any], of_study: str | None) -> dict[str, Any]:
    """A claim with the languages that it is about; plans of older versions leave them to the study's key."""
    return {**claim, "language": claim["language"] or of_study or TARGETS}


def content_of(resolved: ResolvedStudy) -> dict[str, Any]:
    """What a study commits itself to, as JSON."""
    study = resolved.study
    kept = ("seeds", "folds", "fold_seed", "metric", "language", "reference", "level")
    # What a search finds follows from what it is asked: the plan is the same before and after.
    planned = resolved.variants if study.search is None else {PLAIN: resolved.variants[PLAIN]}
    return {
        "scale": resolved.scale,
        **{name: getattr(study, name) for name in kept},
        **({} if study.search is None else {"search": study.search.model_dump(mode="json")}),
        "variants": {name: _own_keys(recipe) for name, recipe in planned.items()},
        "claims": [_with_language(claim.model_dump(mode="json"), study.language) for claim in study.claims],
    }


def _own_keys(recipe: Recipe) -> dict[str, Any]:
    """What a variant sets: keys that a later version adds with a default change no plan."""
    shown = {"name", "description", "track", "seed"}
    return recipe.model_dump(mode="json", exclude_defaults=True, exclude=shown)


def read_plan(directory: StudyDirectory) -> LockedPlan | None:
    """The locked plan; None before the first run, and for studies that an older version made.

    Raises:
        UserError: ``plan.json`` can't be read.
    """
    if not directory.plan.is_file():
        return None
    try:
        return LockedPlan.model_validate_json(directory.plan.read_bytes())
    except ValidationError as error:
        raise UserError(
            f"{directory.plan} can't be read as the locked plan of a study ({error.errors()[0]['msg']})",
            expected="the JSON that glotune wrote",
            remedy="Put it back; without it the plan is locked anew, and the report says that runs came before it",
        ) from error


def lock_plan(resolved: ResolvedStudy, directory: StudyDirectory) -> list[str]:
    """Locks the plan of a study before its first run; later, writes down what was changed since.

    Returns:
        what was changed.
    """
    known, content, complete = read_plan(directory), content_of(resolved), len(complete_runs(directory))
    if known is None:
        first = LockedPlan(locked=now(), runs=complete, hash=_digest(content), content=content, current=content)
        _write(first, directory)
        return []
    changes = list(_changes(known, content))
    if not changes:
        return []
    amendments = [
        Amendment(time=now(), runs=complete, what=what, before=before, after=after) for what, before, after in changes
    ]
    changed = {"current": content, "amendments": [*known.amendments, *amendments]}
    _write(known.model_copy(update=changed), directory)
    return [each.what for each in amendments]


def _changes(known: LockedPlan, content: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(what, before, after) of everything that differs from what was planned last."""
    if _seal(known) != known.seal or _digest(known.content) != known.hash:
        yield "plan.json was changed by hand", None, None
    before = known.current
    for name in content:
        if name not in ("variants", "claims") and before.get(name) != content[name]:
            yield name, before.get(name), content[name]
    for name in dict.fromkeys([*before["variants"], *content["variants"]]):
        old, new = before["variants"].get(name), content["variants"].get(name)
        if old != new:
            verb = "added" if old is None else "removed" if new is None else "changed"
            yield f"variant {verb}: {name}", old, new
    old_claims = {claim["name"]: claim for claim in _claims(before)}
    new_claims = {claim["name"]: claim for claim in content["claims"]}
    for name, new in new_claims.items():
        same = (old for each, old in old_claims.items() if each not in new_claims and _question(old) == _question(new))
        if name not in old_claims and (old := next(same, None)) is not None:
            yield f"claim put into other words: {name}", old, new
            old_claims = {each: claim for each, claim in old_claims.items() if each != old["name"]} | {name: new}
    for name in dict.fromkeys([*old_claims, *new_claims]):
        old, new = old_claims.get(name), new_claims.get(name)
        if old != new:
            yield f"claim {'added' if old is None else 'withdrawn' if new is None else 'changed'}: {name}", old, new


def with_dropped(
    resolved: ResolvedStudy, directory: StudyDirectory, planned_by: Callable[[ResolvedStudy], StudyPlan]
) -> StudyPlan:
    """The plan of a study, and with it the runs of seeds that were planned once, came to a result, and are planned no
    more: a diverged seed is not got rid of by dropping it.

    Args:
        planned_by: makes the plan of a resolved study.
    """
    seeds = resolved.study.seeds
    locked = read_plan(directory)
    planned = [] if locked is None else [locked.content["seeds"], *_values(locked.amendments, "seeds")]
    dropped = [seed for seed in dict.fromkeys(chain.from_iterable(planned)) if seed not in seeds]
    if not dropped:
        return planned_by(resolved)
    study = resolved.study.model_copy(update={"seeds": [*seeds, *dropped]})
    plan = planned_by(replace(resolved, study=study))
    ended = {pair for pair in product(resolved.variants, dropped) if _has_ended(plan.of(*pair), directory)}
    kept = [seed for seed in dropped if any(known == seed for _, known in ended)]
    runs = tuple(
        run
        for run in plan.runs
        if run.seed in seeds or ((run.variant, run.seed) in ended and state_of(run, directory) != (False, None))
    )
    study = resolved.study.model_copy(update={"seeds": [*seeds, *kept]})
    return StudyPlan(replace(resolved, study=study), runs, plan.fold_files)


def _has_ended(runs: Sequence[PlannedRun], directory: StudyDirectory) -> bool:
    """Whether the runs of one variant and seed came to a result: all complete, or one that diverged for good."""
    states = [state_of(run, directory) for run in runs]
    return all(finished for finished, _ in states) or any(reason for _, reason in states)


def _values(amendments: Sequence[Amendment], what: str) -> list[Any]:
    return [each.after for each in amendments if each.what == what]


def complete_runs(directory: StudyDirectory) -> list[str]:
    """Names of the runs in a study's folder that are complete, whatever is planned."""
    if not directory.runs.is_dir():
        return []
    places = [place for place in sorted(directory.runs.iterdir()) if place.is_dir() and not place.name.startswith(".")]
    return [place.name for place in places if is_complete(RunDirectory(place))]


# ---- looks --------------------------------------------------------------------------------------------


def evidence_of(runs: Sequence[RunDirectory]) -> str:
    """A hash over the runs and what they were scored."""
    scores = {run.path.name: hashlib.sha256(run.metrics_path.read_bytes()).hexdigest() for run in runs}
    return _digest(scores)


def level_of_look(locked: LockedPlan | None, evidence: str, level: float) -> float:
    """The level at which the claims are tested on these runs: one minus the error that this look spends."""
    looks = [] if locked is None else locked.looks
    known = [place for place, look in enumerate(looks) if look.evidence == evidence]
    return _level_of(known[0] if known else len(looks), level)


def level_of_next_look(locked: LockedPlan | None, evidence: str, level: float) -> float:
    """The level at which the claims will be tested on more runs than these; without a plan no look is counted."""
    if locked is None:
        return _level_of(0, level)
    return _level_of(len(locked.looks) + all(look.evidence != evidence for look in locked.looks), level)


def _level_of(number: int, level: float) -> float:
    """Of a look, counted from 0."""
    return 1.0 - (1.0 - level) * SPENT * (1.0 - SPENT) ** number


def keep_look(
    directory: StudyDirectory, runs: Sequence[str], evidence: str, level: float, answers: Mapping[str, str]
) -> None:
    """Writes a look down, unless the same runs were looked at before."""
    locked = read_plan(directory)
    if locked is None or any(look.evidence == evidence for look in locked.looks):
        return
    look = Look(time=now(), evidence=evidence, runs=list(runs), level=level, answers=dict(answers))
    _write(locked.model_copy(update={"looks": [*locked.looks, look]}), directory)


def _write(plan: LockedPlan, directory: StudyDirectory) -> None:
    sealed = plan.model_copy(update={"seal": _seal(plan)})
    write_atomically(directory.plan, json.dumps(sealed.model_dump(mode="json"), ensure_ascii=False, indent=1) + "\n")


def _seal(plan: LockedPlan) -> str:
    return _digest(plan.model_dump(mode="json", exclude={"seal"}))


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
