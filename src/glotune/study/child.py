"""One run of a study in a process of its own: ``python -m glotune.study.child STUDY RUN``.

A process of its own makes peak memory and time the run's own, and a crash the run's own too. What happens is told on
stdout, one JSON object a line; when stdin ends, the parent is gone, and so is the child: a study that is killed leaves
no run behind that holds its directory.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from glotune.run.records import Event

SECONDS_BETWEEN_LINES = 0.5
ORPHANED = 75
"""Exit code of a child whose parent is gone."""


def main(arguments: list[str]) -> int:
    """Trains or resumes one run and appends its costs to the study's results; returns the exit code."""
    from glotune.errors import GlotuneError
    from glotune.study.directory import StudyDirectory

    directory, name = StudyDirectory(arguments[0]), arguments[1]
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    telling = Telling()
    try:
        carry_out(directory, name, telling)
    except KeyboardInterrupt:
        return 130
    except GlotuneError as error:
        telling.tell({"error": str(error), "kind": type(error).__name__})
        return error.exit_code
    return 0


def carry_out(directory: Any, name: str, telling: Telling) -> None:
    """The run, and what it cost."""
    from glotune.engine.loop import PrunedTraining
    from glotune.run.directory import RunDirectory
    from glotune.run.trials import read_search
    from glotune.study.halving import Halving
    from glotune.study.measures import measured
    from glotune.verbs.lifecycle import Run
    from glotune.verbs.resume import resume
    from glotune.verbs.train import train

    run_path = directory.runs / name
    recipe = directory.recipes / f"{name}.yaml"
    loaded, started = resident_bytes(), time.perf_counter()
    resumed = RunDirectory(run_path).manifest_path.exists()
    searched = read_search(directory.path)  # a trial: compared with others on its way, and its report is not drawn
    pruner = None if searched is None else Halving(directory.path, name, searched)
    shared: dict[str, Any] = {"observer": telling, "report": searched is None, "pruner": pruner}
    try:
        if resumed:
            run = resume(run_path, **shared)
        else:
            run = train(recipe, out=run_path, command=["glotune", "train", str(recipe)], **shared)
    except PrunedTraining:
        run = Run(RunDirectory.open(run_path))
    costs = measured(run.directory)
    costs["cache_seconds"] = telling.cache_seconds
    costs["total_seconds"] = None if resumed else time.perf_counter() - started
    trained = telling.training_peak or peak_bytes()  # a run that was resumed behind its last step trained nothing
    costs["peak_memory_bytes"] = device_peak(run.manifest.plan) or max(0, trained - loaded)
    costs["process_peak_bytes"] = max(telling.earlier_peak, peak_bytes())
    result = {"run": name, "attempt": run.manifest.attempt, "jobs": int(os.environ.get("GLOTUNE_STUDY_JOBS", "1"))}
    directory.append_result({**result, **costs})


class Telling:
    """An observer that tells the parent how far the run is."""

    def __init__(self) -> None:
        self.cache_seconds = 0.0
        self.training_peak: int | None = None
        """The most memory held between the first and the last step, in bytes: reading the texts, the final
        evaluation and the report are no cost of training."""
        self.earlier_peak = 0
        """The most memory held before the first step, in bytes."""
        self._last = 0.0
        self._cache_started: float | None = None
        self._lock = threading.Lock()

    def tell(self, content: Mapping[str, Any]) -> None:
        """One JSON line on stdout."""
        with self._lock:
            sys.stdout.write(json.dumps(content) + "\n")
            sys.stdout.flush()

    def log(self, message: str) -> None:
        """Nothing: the run keeps its own log."""

    def event(self, event: Event) -> None:
        """Alerts only."""
        if event.kind == "alert":
            self.tell({"alert": event.data["message"]})

    def progress(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Progress, at most twice a second; where training begins, and where it ends, in any case."""
        now = time.perf_counter()
        if stage == "cache":
            self._cache_started = now if self._cache_started is None else self._cache_started
            self.cache_seconds = max(self.cache_seconds, now - self._cache_started)
        begins = stage == "train" and self.training_peak is None
        if stage == "train":
            if begins:
                self.earlier_peak = peak_bytes()
                forget_peak()
            self.training_peak = peak_bytes()
        if begins or now - self._last >= SECONDS_BETWEEN_LINES or (stage == "train" and done >= total):
            self._last = now
            self.tell({"stage": stage, "done": done, "total": total})


def peak_bytes() -> int:
    """The most memory that this process ever held, or held since `forget_peak`, in bytes.

    ``VmHWM`` on Linux, which `forget_peak` resets: `getrusage` there starts from the peak of the parent that forked
    the process.
    """
    found = _status("VmHWM")
    if found is not None:
        return found
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def forget_peak() -> None:
    """Lets the peak count from now on; without effect where the system can't (Linux can)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def resident_bytes() -> int:
    """The memory that this process holds now, libraries loaded, in bytes."""
    import torch  # noqa: F401 - loaded before the measurement, so that it is no cost of the run

    found = _status("VmRSS")
    if found is not None:
        return found
    import psutil

    return int(psutil.Process().memory_info().rss)


def _status(field: str) -> int | None:
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None


def device_peak(plan: Any) -> int | None:
    """The most device memory that the run held, in bytes; None on a CPU."""
    import torch

    if plan is None or plan.device != "cuda":
        return None
    return int(torch.cuda.max_memory_allocated())


def _leave_with_parent() -> None:
    """Waits for the end of stdin, which comes when the parent ends, however it ends."""
    while os.read(0, 4096):
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
