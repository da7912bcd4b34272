"""What the suites found, as tables for `docs/reliability.md`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from faults.encoder import make_encoder
from faults.kills import KillResult, kill_many
from faults.recipes import KINDS
from faults.stages import OTHERWISE, STAGES, Board, watch


def kills(count: int, folder: Path, seed: int) -> int:
    """Spreads the kills over the kinds of runs, prints the tables; 1 where a run was not equal."""
    torch.set_num_threads(1)  # a child forked from a parent with running OpenMP threads would hang
    board = Board()
    watch(board)
    encoder = make_encoder(folder / "encoder")
    started = time.monotonic()
    share = [len(range(start, count, len(KINDS))) for start in range(len(KINDS))]
    results = [
        kill_many(kind, kills, encoder, folder / kind.replace(" ", "-"), seed, board)
        for kind, kills in zip(KINDS, share, strict=True)
    ]
    print_kills(results, time.monotonic() - started)
    return 0 if all(not result.problems for result in results) else 1


def print_kills(results: list[KillResult], seconds: float) -> None:
    """Kinds by what came of them, stages by kind, then what went wrong."""
    print("| kind of run | kills | runs | equal to the uninterrupted run |\n| --- | ---: | ---: | ---: |")
    for result in results:
        print(f"| {result.kind} | {result.kills} | {result.runs} | {result.equal} |")
    print(f"\n| killed while | {' | '.join(result.kind for result in results)} |")
    print(f"| --- |{' ---: |' * len(results)}")
    for stage in (*STAGES, OTHERWISE):
        if any(result.stages[stage] for result in results):
            print(f"| {stage} | {' | '.join(str(result.stages[stage]) for result in results)} |")
    print(f"\n{sum(result.kills for result in results)} kills in {seconds:.0f} s")
    for result in results:
        for problem in result.problems:
            print(f"{result.kind}: {problem}", file=sys.stderr)
