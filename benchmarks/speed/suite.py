"""The suite from its command line: which rows, at which size, into which file."""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.speed.rows import FULL, NAMES, SMALL, TRAINING, TrainingRow
from benchmarks.speed.side import Measure
from benchmarks.speed.world import World, build

if TYPE_CHECKING:
    from benchmarks.speed.measure import Setting

PARTS = ("timing", "equivalence")
QUICK: dict[str, Any] = {
    "rounds": 1,
    "prediction_texts": 64,
    "prediction_batch_sizes": (16,),
    "tokenizing_rows": 20_000,
    "compared_rows": 5_000,
    "memory_texts": 64,
    "rates": (2e-5, 5e-5),
}
"""What --quick measures less of: fields of `Setting`."""
SMALL_ENCODER = (
    f"A small encoder ({SMALL.hidden} wide), once: this shows that the suite runs, not what a real one gains."
)
Keep = Callable[[dict[str, Any]], object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `python -m benchmarks speed` takes."""
    parser.add_argument("--data", type=Path, required=True, help="folder with umsab/LANGUAGE.csv")
    parser.add_argument("--encoder", type=Path, help="an encoder with real weights, in place of random ones")
    parser.add_argument("--row", action="append", choices=NAMES, help="a row (again for more); all without it")
    parser.add_argument("--part", action="append", choices=PARTS, help="timing or equivalence; both without it")
    parser.add_argument("--quick", action="store_true", help="a small encoder: every part, in under five minutes")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of A B A B")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the row `prediction`")
    parser.add_argument("--work", type=Path, help="folder for encoder, texts and caches, kept; a temporary one without")
    parser.add_argument("--out", type=Path, default=Path("speed.json"), help="results, added to what is there")
    parser.add_argument("--document", type=Path, help="Markdown whose table is drawn anew from the results")


def run(arguments: argparse.Namespace) -> str:
    """Measures, writes, and returns the table."""
    from benchmarks.speed import tables

    shape = SMALL if arguments.quick else FULL
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        world = build(arguments.data, arguments.work or Path(temporary), shape, arguments.encoder)
        with settings(arguments) as chosen:
            for name in arguments.row or NAMES:
                for part in arguments.part or PARTS:
                    keep = partial(tables.add_result, arguments.out, name, about(arguments, world))
                    carry_out(name, part, world, chosen, arguments, keep)
    print(f"took {time.perf_counter() - started:.0f} s", flush=True)
    results = tables.read_results(arguments.out)
    if arguments.document is not None:
        tables.put_into(arguments.document, results)
    shown = f"{tables.table(results)}\n\n{tables.equivalence_table(results)}"
    return f"{SMALL_ENCODER}\n\n{shown}" if arguments.quick else shown


def carry_out(
    name: str, part: str, world: World, chosen: Setting, arguments: argparse.Namespace, keep: Keep
) -> None:  # fmt: skip
    """One part of a row; nothing where the row has no such part.

    Args:
        keep: writes down what is measured so far.

    Raises:
        AssertionError: the engines do not train alike.
    """
    from benchmarks.speed import measure, tables

    rows = {row.name: quick(row) if arguments.quick else row for row in TRAINING}
    if part == "equivalence":
        if name in rows:
            _check(rows[name], world, chosen.measure, keep)
    elif name in rows:
        measure.training(rows[name], world, chosen, say, keep)
    elif name == "prediction":
        measure.predicting(world, chosen, say, keep, arguments.precision)
    elif name == "study":
        frozen = rows["mbert-6-layers-frozen"]
        known = tables.read_results(arguments.out)["rows"].get(frozen.name, {}).get("per_device")
        measure.studying(frozen, world, chosen, say, keep, known)
    else:
        {"memory": measure.memory, "tokenizing": measure.tokenize}[name](world, chosen, say, keep)


def _check(row: TrainingRow, world: World, measure: Measure, keep: Keep) -> None:
    from benchmarks.speed import equivalence

    found = equivalence.check(row, world, measure)
    say(f"{row.name}: losses of {found['steps']} steps differ by {found['largest_difference']:.1e} at most")
    if found["largest_difference"] > equivalence.TOLERANCE:
        raise AssertionError(f"{row.name} does not train as Trainer does: {found}")
    keep({"equivalence": found})


@contextmanager
def settings(arguments: argparse.Namespace) -> Iterator[Setting]:
    """Sizes and rounds, and what carries a side out: with --quick a fork of one warm process."""
    from benchmarks.speed import side
    from benchmarks.speed.measure import Setting
    from benchmarks.speed.warm import warm

    fresh = partial(side.measure, threads=arguments.threads)
    if arguments.quick:
        with warm(arguments.threads) as forked:
            yield replace(Setting(forked, fresh), **QUICK)
    else:
        yield Setting(fresh, fresh, arguments.rounds)


def quick(row: TrainingRow) -> TrainingRow:
    """The row with one per-device batch and few texts."""
    size = min(row.batch_size, 64)
    return replace(row, batch_size=size, texts=2 * size, fixed_texts=32, per_device=(min(32, size),))


def about(arguments: argparse.Namespace, world: World) -> dict[str, Any]:
    """Where and with what it was measured."""
    import torch
    import transformers

    from glotune.engine.plan import cpu_has_bf16

    return {
        "machine": {
            "threads": arguments.threads,
            "processor": processor(),
            "bf16": cpu_has_bf16(),
            "torch": torch.__version__.partition("+")[0],
            "transformers": transformers.__version__,
        },
        "hidden": world.shape.hidden,
        "weights": world.weights,
    }


def processor() -> str:
    """The processor's name as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def say(message: str) -> None:
    """A line as soon as there is one."""
    print(message, flush=True)
