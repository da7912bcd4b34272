"""The suite from its command line: which parts, from which encoder, into which file."""

from __future__ import annotations

import argparse
from fnmatch import fnmatch
from pathlib import Path

RESULTS = Path(__file__).with_name("measured.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `python -m benchmarks tasks` takes."""
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with brighter_emotions/LANGUAGE.csv and others"
    )
    parser.add_argument("--encoder", type=Path, required=True, help="folder of the encoder")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for runs, kept: a part goes on where it stopped"
    )
    parser.add_argument("--part", action="append", help="GROUP/WHICH, * for any (again for more); all without it")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results, added to what is there")
    parser.add_argument("--document", type=Path, help="Markdown whose tables are drawn anew from the results")
    parser.add_argument("--list", action="store_true", help="name the parts and what is done, and measure nothing")


def run(arguments: argparse.Namespace) -> str:
    """Measures what isn't measured yet, and returns the tables."""
    from benchmarks.tasks import tables
    from benchmarks.tasks.all_parts import PARTS
    from benchmarks.tasks.parts import World, add_result, read_results

    world = World(arguments.data, arguments.encoder, arguments.work)
    chosen = [part for part in PARTS if any(fnmatch(part.name, wanted) for wanted in arguments.part or ["*"])]
    for part in chosen:
        done = part.name in read_results(arguments.out)
        if arguments.list:
            print(f"{part.name}: {'done' if done else 'to do'}")
        elif not done:
            add_result(arguments.out, part.name, part.measure(world))
            print(f"{part.name} done", flush=True)
    results = read_results(arguments.out)
    if arguments.document is not None:
        tables.put_into(arguments.document, results)
    return tables.all_shown(results)
