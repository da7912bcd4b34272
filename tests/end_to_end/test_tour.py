"""The tour in docs/tour.md: its commands, read from the page, in one shell."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus

PAGE = Path(__file__).parents[2] / "docs" / "tour.md"
DONE = "--- done"


def commands() -> list[str]:
    """The lines of the page's sh blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


class Shell:
    """One shell with glotune on its path, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        place = Path(sys.executable).parent
        environment = {**os.environ, "PATH": f"{place}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}
        self.process = subprocess.Popen(
            ["bash"], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, command: str) -> str:
        """What the command says, which must succeed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f'{command}\necho "{DONE} $?"\n')
        self.process.stdin.flush()
        said = []
        for line in self.process.stdout:
            if line.startswith(DONE):
                assert line.split()[-1] == "0", f"{command}\n{''.join(said)}"
                return "".join(said)
            said.append(line)
        raise AssertionError(f"the shell ended in: {command}\n{''.join(said)}")

    def close(self) -> None:
        """Waits for what still runs in the background."""
        self.process.communicate("wait\n", timeout=120)


def wait_for_first_epoch(run: Path, log: Path) -> None:
    """As a reader does."""
    deadline = time.monotonic() + 180
    while not (run / "events.jsonl").exists() or '"evaluation"' not in (run / "events.jsonl").read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.mark.extras
def test_the_tour(tmp_path: Path) -> None:
    doctor, train, monitor, stop, listing, resume, report, push = commands()
    shell, run = Shell(tmp_path), tmp_path / "runs" / "tour"
    try:
        assert "micro-batch" in shell.run(doctor)
        assert train.endswith("&")
        shell.run(train)
        wait_for_first_epoch(run, tmp_path / "tour.log")
        snapshot = shell.run(monitor)
        assert "running" in snapshot
        assert re.search(r"macro.?f1", snapshot, re.IGNORECASE)
        assert "stopped" in shell.run(stop)
        assert "interrupted" in shell.run(listing)
        shell.run(resume)
        assert RunDirectory.open(run).read_manifest().status is RunStatus.COMPLETE
        events = RunDirectory.open(run).events()
        steps = [event.step for event in events if event.kind == "step"]
        assert steps == list(range(1, 20 * 21 + 1)), "no step is lost, none is counted twice"
        assert sum("resumed_from" in event.data for event in events) == 1
        assert "report.html" in shell.run(report)
        assert (run / "report" / "report.md").stat().st_size > 1000
        shown = shell.run(push)
        assert "model.safetensors" in shown
        assert "Nothing was sent" in shown
        assert set(json.loads((run / "metrics.json").read_text())["test"]) > {"en", "bn", "sw"}
    finally:
        shell.close()
