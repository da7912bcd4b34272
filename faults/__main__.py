"""`python -m faults kills`: kills runs with -9 at random moments and checks that nothing was lost."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

from faults.encoder import make_encoder
from faults.kills import KillResult, kill_many
from faults.recipes import KINDS


def main() -> int:
    """Runs the suite; the exit code is 1 where any run was not equal to the uninterrupted one."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("suite", choices=["kills"])
    parser.add_argument("--count", type=int, default=200, help="kills in all, spread over the kinds of runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the runs go; a temporary folder without it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # a child forked from a parent with running OpenMP threads would hang
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="glotune-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    encoder = make_encoder(folder / "encoder")
    started = time.monotonic()
    share = [len(part) for part in _parts(arguments.count, len(KINDS))]
    results = [
        kill_many(kind, kills, encoder, folder / kind.replace(" ", "-"), arguments.seed)
        for kind, kills in zip(KINDS, share, strict=True)
    ]
    report(results, time.monotonic() - started)
    return 0 if all(not result.problems for result in results) else 1


def _parts(count: int, number: int) -> list[range]:
    return [range(start, count, number) for start in range(number)]


def report(results: list[KillResult], seconds: float) -> None:
    """One table, then what went wrong."""
    print("| kind | kills | runs | equal to the uninterrupted run | killed while |")
    print("| --- | --- | --- | --- | --- |")
    for result in results:
        stages = ", ".join(f"{stage} {count}" for stage, count in sorted((result.stages or {}).items()))
        print(f"| {result.kind} | {result.kills} | {result.runs} | {result.equal} of {result.runs} | {stages} |")
    kills = sum(result.kills for result in results)
    print(f"\n{kills} kills in {seconds:.0f} s")
    for result in results:
        for problem in result.problems or []:
            print(f"{result.kind}: {problem}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
