"""What the suites found, as tables for `docs/reliability.md`."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import torch

from faults.encoder import make_encoder
from faults.kills import KillResult, Kills, kill_many
from faults.recipes import KINDS, make_recipe
from faults.signals import signal_in_every_stage
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


def signals(folder: Path, few: bool) -> int:
    """Signals in every stage of a run with a prefix cache; 1 where one left no clean status or no exact resume."""
    torch.set_num_threads(1)
    board = Board()
    watch(board)
    recipe = make_recipe(folder, "prefix cache", make_encoder(folder / "encoder"))
    work = Kills("prefix cache", recipe, folder, board, random.Random(0))
    work.run_uninterrupted()
    results = signal_in_every_stage(work, few)
    print("| stage | signal | seconds to the end | the manifest says | resumed |")
    print("| --- | --- | ---: | --- | --- |")
    for result in results:
        came = "different" if result.problems else "equal"
        print(f"| {result.stage} | {result.signals} | {result.seconds:.2f} | {result.reason} | {came} |")
    for result in results:
        for problem in result.problems:
            print(f"{result.signals} while {result.stage}: {problem}", file=sys.stderr)
    return int(any(result.problems for result in results))
