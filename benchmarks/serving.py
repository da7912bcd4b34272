"""A served classifier under load: clients that check every answer, beside a server that answers one text at a time.

Both servers run as processes of their own, are asked in turns (A B A B …) and serve the same weights. The naive one is
what a first try looks like: transformers' pipeline behind one lock.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np
import psutil

CLIENTS = 8
TOLERANCE = 1e-3
URL = re.compile(r"http://127\.0\.0\.1:(\d+)")


@dataclass
class Load:
    """What clients saw."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    """Seconds of each answer that was right."""
    wrong: list[str] = field(default_factory=list)
    """Answers to another text, or other than they should be."""
    failed: list[str] = field(default_factory=list)
    """No answer."""

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return len(self.latencies) / self.seconds

    def milliseconds(self, percentile: float) -> float:
        """Of a right answer."""
        return 1000 * float(np.percentile(self.latencies, percentile)) if self.latencies else float("nan")


def load(port: int, expected: Mapping[str, Mapping[str, float]], *, clients: int = CLIENTS, seconds: float) -> Load:
    """`clients` ask one text after another over connections of their own, and check each answer.

    Args:
        expected: text -> label -> score.
    """
    texts = list(expected)
    found = [Load(seconds) for _ in range(clients)]
    end = time.monotonic() + seconds

    def ask(number: int) -> None:
        mine, connection = found[number], HTTPConnection("127.0.0.1", port, timeout=60)
        for text in itertools.cycle(texts[number::clients] + texts[:number]):
            if time.monotonic() >= end:
                return
            started = time.perf_counter()
            try:
                scores = predict(connection, text)
            except (OSError, ValueError, HTTPException) as error:
                mine.failed.append(f"{type(error).__name__}: {error}")
                connection.close()
                time.sleep(0.05)
                continue
            mine.latencies.append(time.perf_counter() - started)
            if any(abs(scores[label] - score) > TOLERANCE for label, score in expected[text].items()):
                mine.latencies.pop()
                mine.wrong.append(text)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(
        seconds,
        [each for one in found for each in one.latencies],
        [each for one in found for each in one.wrong],
        [each for one in found for each in one.failed],
    )


def predict(connection: HTTPConnection, text: str) -> dict[str, float]:
    """Label -> score of one text; raises ValueError for any other status than 200."""
    connection.request(
        "POST", "/predict", json.dumps({"inputs": text, "truncate": True}), {"content-type": "application/json"}
    )
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise ValueError(f"{response.status} {body[:200]!r}")
    return {each["label"]: each["score"] for each in json.loads(body)}


@contextmanager
def server(command: Sequence[str], folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server as a process, and the port that it names on its standard error; it is ended by SIGTERM.

    Raises:
        RuntimeError: it did not start.
    """
    log = folder / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, *command], stderr=file, stdout=file)
    try:
        yield process, _port(process, log)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _port(process: subprocess.Popen[bytes], log: Path, seconds: float = 240) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if found := URL.search(log.read_text(encoding="utf-8", errors="replace")):
            return int(found[1])
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


def ours(model: Path, *options: str) -> list[str]:
    """The command of `glotune serve` on any free port."""
    program = "import sys; from glotune.cli.main import run; run()"
    return ["-c", program, "serve", str(model), "--port", "0", *options]


def naive(folder: Path, max_length: int) -> list[str]:
    """The command of a server that answers one text at a time."""
    return ["-m", "benchmarks.naive_server", str(folder), str(max_length)]


def compare(model: Path, run: Path, texts: list[str], folder: Path, *, rounds: int, seconds: float) -> str:
    """Markdown: `glotune serve` on a run or an export, and the naive server on the run's model, in turns."""
    import glotune
    from glotune.recipe import load_recipe

    length = load_recipe(run / "recipe.yaml").data.max_length
    expected = {each: answers(glotune.load(each), texts) for each in (model, run)}
    (folder / "ours").mkdir()
    (folder / "naive").mkdir()
    results: dict[str, list[Load]] = {"glotune serve": [], "one by one": []}
    with (
        server(ours(model), folder / "ours") as (process, port),
        server(naive(run / "model", length), folder / "naive") as (_, other),
    ):
        load(port, expected[model], seconds=2), load(other, expected[run], seconds=2)
        before = psutil.Process(process.pid).memory_info().rss
        for _ in range(rounds):
            results["glotune serve"].append(load(port, expected[model], seconds=seconds))
            results["one by one"].append(load(other, expected[run], seconds=seconds))
        after = psutil.Process(process.pid).memory_info().rss
    lines = ["| | answers/s | median | p99 | wrong or lost |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, loads in results.items():
        every = Load(1, [each for one in loads for each in one.latencies])
        bad = sum(len(one.wrong) + len(one.failed) for one in loads)
        lines.append(
            f"| {name} | {statistics.median(one.rate for one in loads):,.1f} | {every.milliseconds(50):,.0f} ms |"
            f" {every.milliseconds(99):,.0f} ms | {bad} of {len(every.latencies) + bad:,} |"
        )
    pairs = zip(results["glotune serve"], results["one by one"], strict=True)
    ratios = [first.rate / second.rate for first, second in pairs]
    memory = (after - before) / 2**20
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return "\n".join([*lines, "", f"Ratio by round: {shown}. Memory of our server: {memory:+.1f} MiB over the rounds."])


def answers(predictor: object, texts: list[str]) -> dict[str, dict[str, float]]:
    """What a server must answer."""
    found = predictor.predict(texts)  # type: ignore[attr-defined]
    return {text: each.probabilities for text, each in zip(texts, found, strict=True)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of both measurements of exports."""
    parser.add_argument("--run", type=Path, required=True, help="a run")
    parser.add_argument("--export", type=Path, action="append", default=[], help="an export of it; can be repeated")
    parser.add_argument("--data", type=Path, required=True, help="folder with umsab/LANGUAGE.csv")
    parser.add_argument("--texts", type=int, default=64, help="test texts per language")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a round, with a served model")
