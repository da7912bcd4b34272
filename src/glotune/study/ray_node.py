"""What a Ray node does for a study. It travels to the node as code, so that a node without glotune can say so.

Only the standard library is imported: the run itself is a process of its own, as on a single machine, with the node's
Python, its cache folder and the devices that Ray gave it.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

NOT_SEEN_SECONDS = 10.0
"""A network file system may show a new file this late."""


@dataclass(frozen=True)
class Errand:
    """What is the same for all runs of a study."""

    study: str
    """The study's folder, absolute."""
    mark: str
    """What the file ``logs/.cluster`` there says: the folder is the same one as the study's own machine sees."""
    folder: str
    """The working directory of the study, to which relative paths of recipes refer."""
    version: str
    """Of glotune."""
    child: tuple[str, ...]
    """What the run's Python is given."""
    threads: int
    jobs: int
    """Runs that may share a node."""
    grace_seconds: float


def unfit(errand: Errand) -> str | None:
    """What keeps this node from carrying runs of the study out; None where nothing does."""
    here = socket.gethostname()
    try:
        version = metadata.version("glotune")
    except metadata.PackageNotFoundError:
        return f"glotune is not installed on {here} ({sys.executable})"
    if version != errand.version:
        return f"{here} has glotune {version}, the study was started by {errand.version}"
    mark, deadline = Path(errand.study) / "logs" / ".cluster", time.monotonic() + NOT_SEEN_SECONDS
    while not mark.is_file() or mark.read_text(encoding="utf-8") != errand.mark:
        if time.monotonic() > deadline:
            return f"{here} does not see the study's folder {errand.study}"
        time.sleep(0.2)
    if not os.path.isdir(errand.folder):  # noqa: PTH112 - no more than this is asked
        return f"{here} does not see the folder {errand.folder}, in which the study was started"
    return None


def carry(errand: Errand, run: str, tell: Callable[[str, dict[str, Any]], None]) -> dict[str, Any]:
    """Carries one run out, and tells its lines.

    Returns:
        code, error, kind and last_words of `glotune.study.workers.Ended`.

    Raises:
        KeyboardInterrupt: cancelled; the run made its checkpoint first.
    """
    if (fault := unfit(errand)) is not None:
        return {"code": 2, "error": fault, "kind": "UserError"}
    log = Path(errand.study) / "logs" / f"{run}.txt"
    tell(run, {"started": socket.gethostname()})
    with log.open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, *errand.child, errand.study, run],
            stdin=subprocess.PIPE,  # its end tells the child that this node's worker is gone
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=errand.folder,
            env={**os.environ, **_environment(errand)},
            process_group=0,
        )
    said: dict[str, Any] = {"error": "", "kind": ""}
    try:
        for content in _lines(process):
            if "error" in content:
                said = {"error": str(content["error"]), "kind": str(content["kind"])}
            else:
                tell(run, content)
    except KeyboardInterrupt:
        process.terminate()
        try:
            process.wait(errand.grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    words = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return {**said, "code": process.wait(), "last_words": words[-1] if words else f"it said nothing ({log})"}


def _environment(errand: Errand) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(errand.threads),
        "TOKENIZERS_PARALLELISM": "false" if errand.threads == 1 else "true",
        "GLOTUNE_STUDY_JOBS": str(errand.jobs),
    }


def _lines(process: subprocess.Popen[bytes]) -> Any:
    """The JSON objects that the process prints; waiting in slices, in which a cancellation can arrive."""
    waiting: queue.Queue[bytes | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            waiting.put(line)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = waiting.get(timeout=0.2)
        except queue.Empty:
            continue
        if line is None:
            return
        try:
            content = json.loads(line)
        except ValueError:
            continue  # a library printed something
        if isinstance(content, dict):
            yield content
