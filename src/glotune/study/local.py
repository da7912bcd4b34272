"""The runs of a study as processes on this machine, several at once."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

from glotune.study.directory import StudyDirectory
from glotune.study.workers import CHILD, GRACE_SECONDS, Ended, Message, Started, message_of


class LocalWorkers:
    """At most `jobs` processes at a time, which share the cores.

    A process of its own makes a run's memory, time and crash its own.
    """

    def __init__(self, directory: StudyDirectory, jobs: int) -> None:
        self.at_once: int | None = jobs
        self.room = jobs
        self.release_seconds = GRACE_SECONDS
        self._directory = directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._told: queue.Queue[Message] = queue.Queue()

    def start(self, run: str) -> None:
        """Starts the run's process, and a thread that listens to it."""
        log = self._directory.logs / f"{run}.txt"
        with log.open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, *CHILD, str(self._directory.path), run],
                stdin=subprocess.PIPE,  # its end tells the child that this process is gone
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=_environment(self.at_once or 1),
                process_group=0,  # Ctrl-C reaches it through this process, once
            )
        self._running[run] = process
        self._told.put(Started(run))
        threading.Thread(target=self._read, args=(run, process, log), daemon=True).start()

    def listen(self) -> Message:
        """The next message of any process."""
        message = self._told.get()
        if isinstance(message, Ended):
            self._running.pop(message.run)
        return message

    def stop(self) -> None:
        """Terminates, waits, kills."""
        for process in self._running.values():
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self._running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()

    def _read(self, run: str, process: subprocess.Popen[bytes], log: Path) -> None:
        error = kind = ""
        for line in process.stdout or ():
            try:
                content = json.loads(line)
            except ValueError:
                continue  # a library printed something
            if not isinstance(content, dict):
                continue
            if "error" in content:
                error, kind = str(content["error"]), str(content["kind"])
            elif (message := message_of(run, content)) is not None:
                self._told.put(message)
        self._told.put(Ended(run, process.wait(), error, kind, _last_line(log)))


def _environment(jobs: int) -> dict[str, str]:
    """The cores shared out among the runs, unless the user said otherwise."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = str(max(1, cores // jobs))
    own = {"OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false" if jobs > 1 else "true"}
    return {**own, **os.environ, "GLOTUNE_STUDY_JOBS": str(jobs)}


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"it said nothing ({log})"
