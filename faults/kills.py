"""kill -9 at random moments, again and again, until the run is through; then compare with one that was left alone."""

from __future__ import annotations

import os
import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from faults.processes import go_on, is_complete, kill_after, spawn, wait
from faults.recipes import make_recipe
from glotune.comparison.equality import differences
from glotune.run_dir import RunDirectory

MOST_KILLS = 5
"""Kills of one run before it is left to finish."""


@dataclass
class KillResult:
    """What the kills of one kind of run came to."""

    kind: str
    kills: int = 0
    runs: int = 0
    equal: int = 0
    problems: list[str] | None = None
    stages: dict[str, int] | None = None
    """What the run was doing when it was killed -> kills."""


def kill_many(kind: str, kills: int, encoder: Path, folder: Path, seed: int) -> KillResult:
    """Kills runs of one kind until `kills` have hit, and checks each finished run against the uninterrupted one."""
    generator = random.Random(f"{kind}{seed}")
    folder.mkdir(parents=True)
    recipe = make_recipe(folder, kind, encoder)
    reference = folder / "uninterrupted"
    seconds = _time_of(recipe, reference, folder / "cache-reference", folder / "reference.log")
    result = KillResult(kind, problems=[], stages={})
    while result.kills < kills:
        out, log = folder / f"run-{result.runs}", folder / f"run-{result.runs}.log"
        os.environ["GLOTUNE_CACHE"] = str(folder / f"cache-{result.runs}")
        for _ in range(min(MOST_KILLS, kills - result.kills)):
            pid = spawn(go_on(recipe, out), log)
            if kill_after(pid, generator.uniform(0.0, seconds)):
                result.kills += 1
                stage = stage_of(out)
                result.stages[stage] = result.stages.get(stage, 0) + 1
            if is_complete(out):
                break
        if not is_complete(out) and wait(spawn(go_on(recipe, out), log)) != 0:
            result.problems.append(f"{out.name} did not resume: {log.read_text().strip().splitlines()[-1:]}")
        found = differences(RunDirectory(reference), RunDirectory(out))
        result.problems += [f"{out.name}: {line}" for line in found]
        result.equal += not found
        result.runs += 1
        if not found:
            shutil.rmtree(out)
            shutil.rmtree(folder / f"cache-{result.runs - 1}", ignore_errors=True)
    return result


def stage_of(out: Path) -> str:
    """What a killed run was doing, as its directory tells."""
    run = RunDirectory(out)
    if not run.manifest_path.exists():
        return "before the run directory"
    if (run.path / "model").exists() or any(run.path.glob(".model*")):
        return "saving"
    if any(run.checkpoints.glob(".*.tmp")):
        return "checkpointing"
    if run.predictions.exists():
        return "final evaluation"
    if run.events_path.exists() and any(event.kind == "step" for event in run.raw_events()):
        return "training or evaluating"
    return "preparing (tokens, caches, encoder)"


def _time_of(recipe: object, out: Path, cache: Path, log: Path) -> float:
    os.environ["GLOTUNE_CACHE"] = str(cache)
    started = time.monotonic()
    code = wait(spawn(go_on(recipe, out), log))  # type: ignore[arg-type]
    if code != 0:
        raise SystemExit(f"the uninterrupted run failed: {log.read_text()[-500:]}")
    return time.monotonic() - started
