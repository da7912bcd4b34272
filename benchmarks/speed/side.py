"""One side's measurement in a process of its own: ``python -m benchmarks.speed.side JOB.json RESULT.json``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

LOOK_SECONDS = 0.02

KINDS = {
    "train-glotune": ("benchmarks.speed.ours", "train"),
    "train-trainer": ("benchmarks.speed.opponent", "train"),
    "memory-glotune": ("benchmarks.speed.ours", "whole_run"),
    "memory-trainer": ("benchmarks.speed.opponent", "whole_run"),
    "predict-glotune": ("benchmarks.speed.prediction", "ours"),
    "predict-pipeline": ("benchmarks.speed.prediction", "pipeline"),
    "tokenize-glotune": ("benchmarks.speed.tokenizing", "ours"),
    "tokenize-datasets": ("benchmarks.speed.tokenizing", "datasets_map"),
    "study-glotune": ("benchmarks.speed.study", "ours"),
    "zero-shot-glotune": ("benchmarks.zero_shot_sides", "ours"),
    "zero-shot-trainer": ("benchmarks.zero_shot_sides", "trainers"),
}

Job = dict[str, Any]
Result = dict[str, Any]
Measure = Callable[[Job], Result]
"""Carries a job out in a process of its own; raises `SideFailed` where that fails."""


class SideFailed(RuntimeError):
    """A side ended with an error; its last lines are the message."""


def measure(job: Job, threads: int) -> Result:
    """Carries a job out in a fresh process with so many threads.

    Raises:
        SideFailed: the process failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.speed.side", str(folder / "job.json"), str(folder / "result.json")]
        done = subprocess.run(command, env=environment(threads), capture_output=True, encoding="utf-8", check=False)
        result = folder / "result.json"
        if done.returncode != 0 or not result.exists():
            raise SideFailed(f"{job['kind']}: " + "\n".join((done.stdout + done.stderr).splitlines()[-30:]))
        return json.loads(result.read_text(encoding="utf-8"))


def environment(threads: int) -> dict[str, str]:
    """What every side's process is started with."""
    own = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1"}
    return os.environ | own


def main(arguments: list[str]) -> None:
    """Reads the job, carries it out, writes the result with the process's peak memory."""
    job: Job = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    module, function = KINDS[job["kind"]]
    with own_memory() as own:
        result: Result = getattr(import_module(module), function)(job)
    result["peak_memory_bytes"], result["own_memory_bytes"] = peak_memory(), own()
    Path(arguments[1]).write_text(json.dumps(result), encoding="utf-8")


@contextmanager
def own_memory() -> Iterator[Callable[[], int]]:
    """Looks often at the memory that is this process's own; the most of it, in bytes, is what the callable returns.

    Pages of mapped files are left out: the system takes them back when it wants the room.
    """
    process, done, most = psutil.Process(), threading.Event(), 0

    def watch() -> None:
        nonlocal most
        while not done.wait(LOOK_SECONDS):
            held = process.memory_info()
            most = max(most, held.rss - held.shared)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: most
    finally:
        done.set()
        watcher.join()


def peak_memory() -> int:
    """The most memory that this process held, in bytes (``VmHWM``: a parent's peak does not count)."""
    from glotune.study.child import peak_bytes

    return peak_bytes()


if __name__ == "__main__":
    main(sys.argv[1:])
