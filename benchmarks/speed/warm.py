"""A process that has imported everything and forks each side: for `--quick`, where imports would be most of the time.

A forked side holds what its parent had imported, for either engine: peak memory is never measured so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from benchmarks.speed import side
from benchmarks.speed.side import Job, Measure, Result, SideFailed

IMPORTED = (
    "datasets",
    "glotune.verbs.train",
    "peft",
    "transformers.pipelines",
    "transformers.trainer",
    *sorted({module for module, _ in side.KINDS.values()}),
)


@contextmanager
def warm(threads: int) -> Iterator[Measure]:
    """Starts the warm process; what it yields measures a job in a fork of it, with so many threads."""
    command = [sys.executable, "-m", "benchmarks.speed.warm"]
    server = subprocess.Popen(
        command, env=side.environment(threads), stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    )
    asked, answers = server.stdin, server.stdout
    assert asked is not None, "a pipe was asked for"
    assert answers is not None, "a pipe was asked for"

    def measure(job: Job) -> Result:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
            print(folder, file=asked, flush=True)
            code, result = answers.readline().strip(), folder / "result.json"
            if code != "0" or not result.exists():
                said = (folder / "log").read_text("utf-8", "replace") if (folder / "log").exists() else ""
                raise SideFailed(f"{job['kind']}: " + "\n".join([f"exit code {code}", *said.splitlines()[-30:]]))
            return json.loads(result.read_text(encoding="utf-8"))

    try:
        yield measure
    finally:
        asked.close()
        server.wait()


def serve() -> None:
    """A folder a line from stdin, each with a job in it; its exit code a line to stdout. Ends with stdin."""
    for module in IMPORTED:
        import_module(module)
    for line in sys.stdin:
        folder = Path(line.rstrip("\n"))
        pid = os.fork()
        if not pid:
            carry_out(folder)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def carry_out(folder: Path) -> None:
    """In the fork: the job of the folder; then the process ends."""
    code = 1
    try:
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        side.main([str(folder / "job.json"), str(folder / "result.json")])
        code = 0
    except BaseException:  # the fork must never go on as the server
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
