"""SIGTERM and Ctrl-C in every stage of a run: a clean status, the documented exit code, an exact resume."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import dataclass

from faults.kills import Kills
from faults.processes import go_on, spawn, wait
from faults.stages import STAGES
from glotune.errors import EXIT_INTERRUPTED
from glotune.evidence.equality import differences
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus


@dataclass(frozen=True)
class SignalResult:
    """What one request to stop came to."""

    stage: str
    signals: str
    seconds: float
    """From the signal to the end of the process."""
    reason: str
    """What the manifest says."""
    problems: list[str]


def signal_in_every_stage(work: Kills, few: bool) -> list[SignalResult]:
    """One run for each stage and signal; `few`: each stage once."""
    sent = [[signal.SIGTERM], [signal.SIGINT]]
    results = []
    for number, stage in enumerate(stage for stage in STAGES if stage in work.stages):
        for signals in [sent[number % 2]] if few else sent:
            results.append(stop_in(work, stage, signals))
    results.append(stop_in(work, "training step", [signal.SIGINT, signal.SIGINT]))
    return results


def stop_in(work: Kills, stage: str, signals: list[signal.Signals]) -> SignalResult:
    """A run that is sent signals when it enters a stage for a second time, or the first where there is no second."""
    name = f"{stage.replace(' ', '-')}-{'-'.join(each.name for each in signals)}"
    out, log = work.folder / name, work.folder / f"{name}.log"
    os.environ["GLOTUNE_CACHE"] = str(work.folder / f"cache-{name}")
    number = min(2, work.stages[stage][0])

    def strike(entered: str) -> None:
        if entered == stage and work.board.entries(stage) == number:
            for each in signals:
                os.kill(os.getpid(), each)

    work.board.clear()
    work.board.on_entry = strike
    code = wait(spawn(go_on(work.recipe, out), log))
    seconds = time.monotonic() - work.board.entered(stage)
    work.board.on_entry = lambda entered: None
    problems = [] if code == EXIT_INTERRUPTED else [f"exit code {code}, not {EXIT_INTERRUPTED}"]
    run, reason = RunDirectory(out), "no run directory was made"
    if run.manifest_path.exists():
        manifest = run.read_manifest()
        reason = str(manifest.reason)
        if manifest.status is not RunStatus.INTERRUPTED:
            problems.append(f"status {manifest.status.value}, not interrupted")
    elif stage != "reading the texts":
        problems.append("the run directory is gone")
    if wait(spawn(go_on(work.recipe, out), log)) != 0:
        problems.append(f"did not resume: {log.read_text(encoding='utf-8').strip().splitlines()[-1:]}")
    problems += differences(RunDirectory(work.folder / "uninterrupted"), run)
    if not problems:
        shutil.rmtree(out)
        shutil.rmtree(os.environ["GLOTUNE_CACHE"], ignore_errors=True)
    return SignalResult(stage, ", ".join(each.name for each in signals), seconds, reason, problems)
