"""Watchers beside a training, as people start them, and what each takes of the processor."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psutil

WATCHERS = ("monitor", "web", "tracker")
PERIOD = 1.0
"""Seconds between two samples."""
BROWSER_SECONDS = 2.0
"""Between two questions of the page in a browser (PERIOD in shell.js)."""


@dataclass(frozen=True)
class Sample:
    """One moment."""

    steps: int
    time: float
    seconds: dict[str, float]
    """Watcher -> processor seconds so far."""


class Beside:
    """Opens the watchers when the training's run directory is there; samples until the training is over.

    With ``watched=False`` it only counts steps, so that counting costs both kinds of training the same.
    """

    def __init__(self, out: Path, training: int, *, watched: bool) -> None:
        self.samples: list[Sample] = []
        self._out, self._training, self._watched = out, training, watched
        self._started: list[subprocess.Popen[bytes]] = []
        self._pids: dict[str, int] = {}
        self._steps = self._offset = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        for process in self._started:
            process.kill()
            process.wait()

    def _sample(self) -> None:
        while not self._over.wait(PERIOD):
            if not (self._out / "events.jsonl").exists():
                continue
            self._count_steps()
            if self._watched:
                self._open()
                seconds = {name: _seconds(self._pids[name]) if name in self._pids else 0.0 for name in WATCHERS}
                self.samples.append(Sample(self._steps, time.monotonic(), seconds))

    def _count_steps(self) -> None:
        with (self._out / "events.jsonl").open("rb") as file:
            file.seek(self._offset)
            fresh = file.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._steps += whole.count(b'"kind":"step"')
        self._offset += len(whole)

    def _open(self) -> None:
        if "monitor" not in self._pids:
            self._pids["monitor"] = self._open_monitor()
            self._pids["web"] = self._open_web()
        if "tracker" not in self._pids:
            for child in psutil.Process(self._training).children():
                if "glotune.tracking" in child.cmdline():
                    self._pids["tracker"] = child.pid

    def _open_monitor(self) -> int:
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
        started = subprocess.Popen(_command(self._out), stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        threading.Thread(target=_drain, args=[ours], daemon=True).start()
        self._started.append(started)
        return started.pid

    def _open_web(self) -> int:
        command = [*_command(self._out), "--web"]
        started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=self._browse, args=[started], daemon=True).start()
        self._started.append(started)
        return started.pid

    def _browse(self, server: subprocess.Popen[bytes]) -> None:
        """As the page does: the state every two seconds, the report when its version is another."""
        assert server.stdout is not None
        link = server.stdout.readline().decode().strip()
        place, opener = (
            link.split("/?")[0],
            urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar())),
        )
        version = ""
        with suppress(OSError):
            opener.open(link).read()
            while not self._over.wait(BROWSER_SECONDS):
                state = json.loads(opener.open(f"{place}/state").read())
                run = state["runs"][0]
                if run["version"] != version:
                    version = run["version"]
                    opener.open(f"{place}/report?run={quote(run['key'], safe='')}").read()


def _command(out: Path) -> list[str]:
    return [sys.executable, "-m", "glotune.cli.main", "monitor", str(out)]


def _drain(terminal: int) -> None:
    with suppress(OSError):
        while os.read(terminal, 65_536):
            pass
    os.close(terminal)


def _seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system
