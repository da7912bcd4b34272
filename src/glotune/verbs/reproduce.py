"""Runs a finished run again, from its directory alone, and reports whether the results are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glotune.data.reading import read_again
from glotune.data.streams import refuse_streams
from glotune.data.texts import TextData
from glotune.engine.observer import Observer, watching
from glotune.engine.plan import available_devices, device_of
from glotune.engine.processes import Processes, stopped_by_signals
from glotune.errors import UserError
from glotune.evidence.equality import OWN_TO_AN_ATTEMPT, differences
from glotune.recipe import Recipe, load_recipe, yaml
from glotune.run.directory import RunDirectory
from glotune.run.records import Manifest, Plan, RunStatus
from glotune.verbs.distill import open_lesson
from glotune.verbs.lifecycle import Run, open_run, status_kept
from glotune.verbs.self_training import open_rounds
from glotune.verbs.train import carry_out

CIRCUMSTANCES = (*OWN_TO_AN_ATTEMPT, "warning", "deviation", "plan")
"""Kinds of events about the machine and its mishaps; the plan is compared by itself."""
NO_NUMBERS = {"reasons", "wall"}
"""Parts of a plan that no number follows from."""


@dataclass(frozen=True)
class Reproduction:
    """What came of running a run again."""

    original: RunDirectory
    run: Run | None
    """The second run; None where the data differ, so that nothing was run."""
    circumstances: list[str]
    """Where versions, hardware, plan and mishaps differ: what may explain other numbers, and is harmless without."""
    data: list[str]
    numbers: list[str]
    """Where weights, metrics, predictions or events differ."""

    @property
    def is_equal(self) -> bool:
        """Whether the same numbers came out, bit for bit."""
        return self.run is not None and not self.numbers


@stopped_by_signals()
def reproduce(path: str | Path, *, out: str | Path | None = None, observer: Observer | None = None) -> Reproduction:
    """Trains a complete run's recipe again under its stored plan, and compares.

    Trackers are left out: the second run is sent nowhere.

    Args:
        path: the run; nothing in it is changed.
        out: directory of the second run; ``runs/NAME-reproduced-TIME`` otherwise.

    Raises:
        UserError: no run there, not complete, a pretraining run, or its data or encoder are not to be found.
        RunError, InterruptedRun: as `glotune.train`, of the second run.
    """
    original = RunDirectory.open(path)
    first = original.read_manifest()
    refuse_unfit(original, first)
    recipe = load_recipe(original.recipe, {"track": []})
    refuse_streams(recipe.data, "a run that is reproduced")
    texts = read_again(recipe.data, recipe.seed, first.labels, recipe.task)
    data = list(data_lines(first, texts))
    if data:
        return Reproduction(original, None, [], data, [])
    lesson = open_lesson(recipe, texts, None if out is None else Path(out), first)
    rounds = open_rounds(recipe, texts, first)
    plan = plan_here(first.plan)
    device = device_of(plan, recipe.train.device)
    processes = Processes.start(device, deterministic=recipe.train.deterministic)
    own = original.data if original.data.is_dir() else None
    written = Recipe.model_validate({**yaml.read(original.recipe), "track": []})  # names of its own texts as they are
    command = ["glotune", "reproduce", str(path)]
    directory = open_run(out, written, texts, processes, command, own, f"{first.name}-reproduced")
    with status_kept(directory, processes, fresh=True):
        if processes.is_main:
            directory.update_manifest(plan=plan)
        processes.barrier()
        carry_out(directory, recipe, texts, lesson, rounds, processes, watching(observer))
    second = directory.read_manifest()
    numbers = differences(original, directory, apart_from=CIRCUMSTANCES)
    if numbers:
        numbers += metric_lines(original.read_metrics(), directory.read_metrics())
    return Reproduction(original, Run(directory), list(circumstance_lines(first, second, processes.ranks)), [], numbers)


def refuse_unfit(run: RunDirectory, manifest: Manifest) -> None:
    """A reproduction needs numbers to compare with, and a run of the kind that is trained here."""
    if manifest.status is not RunStatus.COMPLETE:
        raise UserError(
            f"{run.path} is {manifest.status.value}",
            expected="a complete run",
            remedy=f"Finish it with: glotune resume {run.path}",
        )
    run.require_trained(remedy=f"Make its encoder again with: glotune pretrain {run.recipe}")


def data_lines(manifest: Manifest, texts: TextData) -> Iterator[str]:
    """What differs between the texts of a run and those found now."""
    if manifest.data_hash == texts.data_hash:
        return
    before = {source.path: source for source in manifest.data}
    now = {source.path: source for source in texts.sources}
    for path in sorted(before.keys() | now.keys()):
        if path not in now or path not in before:
            yield f"{path} is read {'no longer' if path not in now else 'only now'}"
        elif before[path].sha256 != now[path].sha256:
            yield f"{path} changed: {before[path].rows} rows then, {now[path].rows} now"
    if manifest.labels != texts.labels:
        yield f"labels: {', '.join(texts.labels)} instead of {', '.join(manifest.labels)}"
    yield f"all texts as used: hash {texts.data_hash[:16]} instead of {manifest.data_hash[:16]}"


def plan_here(plan: Plan | None) -> Plan | None:
    """The stored plan where this machine has its device; None, for a plan of this machine's own, otherwise."""
    return plan if plan is not None and plan.device in available_devices() else None


def circumstance_lines(first: Manifest, second: Manifest, ranks: int) -> Iterator[str]:
    """Where the second run was made otherwise than the first, and what befell the first."""
    for what in ("versions", "hardware"):
        before, now = getattr(first, what), getattr(second, what)
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                yield f"{what}: {name} {now.get(name, 'absent')} instead of {before.get(name, 'absent')}"
    before_plan = first.plan.model_dump(exclude=NO_NUMBERS) if first.plan else {}
    now_plan = (second.plan.model_dump(exclude=NO_NUMBERS) if second.plan else {}) | {"ranks": ranks}
    for name, value in now_plan.items():
        if before_plan.get(name) != value:
            yield f"plan: {name} {value} instead of {before_plan.get(name, 'absent')}"
    for line in first.deviations:
        yield f"the first run departed from its plan: {line}"
    for line in second.deviations:
        yield f"the second run departed from its plan: {line}"


def metric_lines(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The scores that differ: ``test/bn accuracy: 0.6123 instead of 0.6131``."""
    lines = []
    for split, languages in first.items():
        if not isinstance(languages, dict):
            continue
        for language, scores in languages.items():
            now = second.get(split, {}).get(language, {})
            for name, value in scores.items():
                if isinstance(value, float) and now.get(name) != value:
                    lines.append(f"{split}/{language} {name}: {now.get(name)} instead of {value}")
    return lines
