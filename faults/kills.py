"""kill -9 at random moments, again and again, until the run is through; then compare with one that was left alone."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from faults.processes import go_on, is_complete, kill_after, spawn, then_tell_modules, wait, warm_up
from faults.recipes import make_recipe
from faults.stages import CACHES, Board
from glotune.evidence.equality import differences
from glotune.recipe import Recipe
from glotune.run.directory import RunDirectory

MOST_KILLS = 5
"""Kills of one run before it is left to finish."""
AIMED_AT = ("writing a checkpoint", "evaluating", "final evaluation", "saving the model")
"""Stages that every second kill waits for: they are short, and random moments would mostly miss them."""


@dataclass
class KillResult:
    """What the kills of one kind of run came to."""

    kind: str
    kills: int = 0
    runs: int = 0
    equal: int = 0
    problems: list[str] = field(default_factory=list)
    stages: Counter[str] = field(default_factory=Counter)
    """What the run was inside of when it was killed -> kills."""


@dataclass
class Kills:
    """Kills of one kind of run."""

    kind: str
    recipe: Recipe
    folder: Path
    board: Board
    generator: random.Random
    seconds: float = 0.0
    """Of the uninterrupted run."""
    stages: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Stage -> (entries, mean seconds) in the uninterrupted run."""

    def run_uninterrupted(self) -> None:
        """The run to compare with. The second time is measured: the libraries are warm by then."""
        for name in ("warming", "uninterrupted"):
            os.environ["GLOTUNE_CACHE"] = str(self.folder / f"cache-{name}")
            log, modules = self.folder / f"{name}.log", self.folder / "modules.txt"
            self.board.clear()
            started = time.monotonic()
            if wait(spawn(then_tell_modules(go_on(self.recipe, self.folder / name), modules), log)) != 0:
                raise SystemExit(f"the uninterrupted run failed: {log.read_text(encoding='utf-8')[-500:]}")
            self.seconds = time.monotonic() - started
            warm_up(modules)
        self.stages = self.board.seconds()

    def kill_once(self, out: Path, log: Path, attempt: int) -> str | None:
        """Starts or resumes a run and kills it; the stage that it was in, None where it finished before."""
        self.board.clear()
        aims = [stage for stage in (CACHES if attempt == 0 else AIMED_AT) if stage in self.stages]
        if attempt == 0 or self.generator.random() < 0.5:
            stage = self.generator.choice(aims)
            entries, mean = self.stages[stage]
            number = self.generator.randint(1, entries)
            pid = spawn(go_on(self.recipe, out), log)
            hit = kill_after(pid, self.generator.uniform(0.0, mean), lambda: self.board.entries(stage) >= number)
        else:
            hit = kill_after(spawn(go_on(self.recipe, out), log), self.generator.uniform(0.0, self.seconds))
        return self.board.now() if hit else None

    def finish(self, out: Path, log: Path, result: KillResult) -> None:
        """Leaves the run alone until it is through, and compares."""
        result.runs += 1
        if not is_complete(out) and wait(spawn(go_on(self.recipe, out), log)) != 0:
            last = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
            result.problems.append(f"{out.name} did not resume: {' '.join(last)}")
            return
        found = differences(RunDirectory(self.folder / "uninterrupted"), RunDirectory(out))
        result.problems += [f"{out.name}: {line}" for line in found]
        result.equal += not found
        if not found:
            shutil.rmtree(out)
            shutil.rmtree(os.environ["GLOTUNE_CACHE"], ignore_errors=True)


def kill_many(kind: str, kills: int, encoder: Path, folder: Path, seed: int, board: Board) -> KillResult:
    """Kills runs of one kind until `kills` have hit, and checks each finished run against the uninterrupted one.

    The first kill of a run aims at the filling of a cache, every second later one at a stage of `AIMED_AT`; the
    others come at a moment drawn from the time that an uninterrupted run takes.
    """
    folder.mkdir(parents=True)
    work = Kills(kind, make_recipe(folder, kind, encoder), folder, board, random.Random(f"{kind}{seed}"))
    result = KillResult(kind)
    if kills:
        work.run_uninterrupted()
    while result.kills < kills:
        out, log = folder / f"run-{result.runs}", folder / f"run-{result.runs}.log"
        os.environ["GLOTUNE_CACHE"] = str(folder / f"cache-{result.runs}")
        for attempt in range(min(MOST_KILLS, kills - result.kills)):
            stage = work.kill_once(out, log, attempt)
            if stage is None:
                break
            result.kills += 1
            result.stages[stage] += 1
        work.finish(out, log, result)
    return result
