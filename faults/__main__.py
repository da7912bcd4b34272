"""`python -m faults SUITE`: does to runs what machines do to them, and checks that nothing was lost."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Runs a suite; the exit code is 1 where anything did not hold."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the runs go; a temporary folder without it")
    parser.add_argument("--seed", type=int, default=0)
    suites = parser.add_subparsers(dest="suite", required=True)
    kills = suites.add_parser("kills", help="kill -9, resume, compare")
    kills.add_argument("--count", type=int, default=200, help="kills in all, spread over the kinds of runs")
    signals = suites.add_parser("signals", help="SIGTERM and Ctrl-C in every stage, resume, compare")
    signals.add_argument("--few", action="store_true", help="each stage once")
    fuzz = suites.add_parser("fuzz", help="generated inputs: accepted, or refused with glotune's own error")
    fuzz.add_argument("--count", type=int, default=10_000, help="inputs in all")
    fuzz.add_argument("--only", help="one kind of input")
    stall = suites.add_parser("stall", help="what a checkpoint costs a step")
    stall.add_argument("--millions", type=float, default=30.0, help="trainable parameters")
    load = suites.add_parser("load", help="many rows, many runs")
    load.add_argument("--rows", type=int, default=1_000_000, help="in each of three languages")
    load.add_argument("--only", action="append", default=[], help="a stage: train, evaluate, predict or report")
    load.add_argument("--runs", type=int, default=0, help="finished runs in a folder, instead of rows")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="glotune-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a forked child has none of its parent's threads

    if arguments.suite == "fuzz":
        from faults import fuzzing

        return fuzzing.report(arguments.count, folder, arguments.seed, arguments.only)
    if arguments.suite == "stall":
        from faults import stall as stalling

        return stalling.report(arguments.millions, folder / "checkpoints")
    if arguments.suite == "load":
        from faults import load as loading

        if arguments.runs:
            return loading.runs(folder, arguments.runs)
        return loading.rows(folder, arguments.rows, arguments.only)
    from faults import report

    if arguments.suite == "signals":
        return report.signals(folder, arguments.few)
    return report.kills(arguments.count, folder, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
