"""Carries a row out: A B A B, each side in a process of its own, and the ratios of each round."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.speed import opponent, ours, prediction, study, tokenizing
from benchmarks.speed.rows import TrainingRow, training_row
from benchmarks.speed.side import Job, Measure, Result, SideFailed
from benchmarks.speed.world import World

Measured = dict[str, Any]
Say = Callable[[str], None]
Keep = Callable[[Measured], object]
"""Writes down what is measured so far: after each round, so that an interrupted call loses one at most."""


@dataclass(frozen=True)
class Setting:
    """How long and with what a row is measured."""

    measure: Measure
    measure_memory: Measure
    """In a process that has imported nothing before."""
    rounds: int = 3
    prediction_texts: int = 768
    prediction_batch_sizes: tuple[int, ...] = prediction.BATCH_SIZES
    """That the pipeline tries."""
    tokenizing_rows: int = 1_000_000
    compared_rows: int = 50_000
    """Rows that `datasets.map` is given too: a million would take it many minutes."""
    memory_texts: int = 128
    rates: tuple[float, ...] = study.RATES


@dataclass(frozen=True)
class Spread:
    """A ratio over the rounds."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(min(values), statistics.median(values), max(values))


def whole_epochs(seconds: float, updating: float, result: Result, batch_size: int, texts: int) -> float:
    """Seconds that an epoch over `texts` takes, from a sample whose steps may have been smaller than the row's."""
    per_text = (seconds - updating) / result["texts"]
    per_step = updating / result["steps"]
    return per_text * texts + per_step * math.ceil(texts / batch_size)


def training(row: TrainingRow, world: World, setting: Setting, say: Say, keep: Keep) -> None:
    """Both opponents and glotune in turn; ratios of the row's training time over its epochs."""
    rounds = []
    per_device, sizes = fastest_per_device(row, world, setting, say)
    for number in range(setting.rounds):
        authors = setting.measure(opponent.authors_job(row, world))
        best = setting.measure(opponent.best_job(row, world, per_device, epochs=row.measured_epochs))
        own = setting.measure(ours.job_of(row, world))
        found = seconds_of_round(row, authors, best, own)
        rounds.append(found)
        say(f"{row.name}, round {number + 1}: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()))
        keep(
            {
                "per_device": per_device,
                "seconds_per_text_by_per_device": {str(size): value for size, value in sizes.items()},
                "texts": row.texts,
                "tokens_per_text": own["tokens"] / own["texts"],
                "epochs": row.epochs,
                "plan": own["plan"],
                "wait_share": own["wait_seconds"] / own["seconds"],
                "rounds": rounds,
                "ratios": {side: ratio(rounds, side) for side in ("authors", "best")},
            }
        )


def ratio(rounds: Sequence[dict[str, float]], side: str = "best") -> dict[str, float]:
    """How many times as long the other side took: over the rounds."""
    return asdict(Spread.of([found[side] / found["glotune"] for found in rounds]))


def seconds_of_round(row: TrainingRow, authors: Result, best: Result, own: Result) -> dict[str, float]:
    """Seconds of the recipe's epochs over the sample, per side; of glotune with its cache filled once."""
    updating = authors["optimizer_seconds"]
    return {
        "authors": row.epochs * whole_epochs(authors["seconds"], updating, authors, row.batch_size, row.texts),
        "best": all_epochs(best["epoch_seconds"], row.epochs),
        "glotune": own["fill_seconds"] + all_epochs(own["epoch_seconds"], row.epochs),
        "glotune_epoch": own["epoch_seconds"][-1],
        "fill": own["fill_seconds"],
    }


def all_epochs(measured: Sequence[float], epochs: int) -> float:
    """Seconds of so many epochs: those measured, and the last of them again for each that was not.

    In the first epoch a process's memory grows, on either side.
    """
    return sum(measured) + (epochs - len(measured)) * measured[-1]


def fastest_per_device(
    row: TrainingRow, world: World, setting: Setting, say: Say
) -> tuple[int, dict[int, float]]:  # fmt: skip
    """The best-practice Trainer's fastest batch, and its seconds per text with each; nothing to try: no seconds."""
    if len(row.per_device) == 1:
        return row.per_device[0], {}
    sizes = sweep(row, world, setting, say)
    return min(sizes, key=sizes.__getitem__), sizes


def sweep(row: TrainingRow, world: World, setting: Setting, say: Say) -> dict[int, float]:
    """Per-device batch -> seconds per text of the best-practice Trainer, over one effective batch."""
    found: dict[int, float] = {}
    texts = min(row.texts, max(row.batch_size, 128))
    for size in row.per_device:
        try:
            result = setting.measure(opponent.best_job(row, world, size, texts))
        except SideFailed as error:  # out of memory, say: the smaller ones count
            say(f"{row.name}: per-device batch {size} failed ({str(error).splitlines()[-1]})")
            continue
        found[size] = result["seconds"] / result["texts"]
        say(f"{row.name}: per-device batch {size}: {1000 * found[size]:.2f} ms a text")
    return found


def memory(world: World, setting: Setting, say: Say, keep: Keep) -> None:
    """Peak memory of whole processes: load, train, checkpoint, save."""
    row = training_row("full-12-layers")
    train = world.sample(setting.memory_texts)
    recipe = ours.recipe_of(row, world, train, train__epochs=1)
    theirs: Job = {**opponent.best_job(row, world, min(32, row.batch_size)), "kind": "memory-trainer"}
    theirs["train"] = str(train)
    own: Job = {"kind": "memory-glotune", "recipe": recipe, "cache": str(world.cache)}
    rounds = []
    for number in range(min(2, setting.rounds)):
        found = {
            "best": setting.measure_memory(theirs)["peak_memory_bytes"],
            "glotune": setting.measure_memory(own)["peak_memory_bytes"],
        }
        rounds.append(found)
        sizes = ", ".join(f"{name} {value / 1e6:.0f} MB" for name, value in found.items())
        say(f"memory, round {number + 1}: {sizes}")
        shares = Spread.of([each["glotune"] / each["best"] for each in rounds])
        keep({"rounds": rounds, "ratios": {"best": asdict(shares)}, "texts": setting.memory_texts})


def predicting(world: World, setting: Setting, say: Say, keep: Keep, precision: str = "fp32") -> None:
    """Distinct texts through both; the pipeline at its best batch size."""
    few, many = max(16, setting.prediction_texts // 4), setting.prediction_texts

    def theirs(texts: int, size: int) -> Result:
        job = prediction.job_of("predict-pipeline", world, texts, precision, batch_size=size)
        return setting.measure(job)

    sizes = {size: theirs(few, size)["seconds"] / few for size in setting.prediction_batch_sizes}
    size = min(sizes, key=sizes.__getitem__)
    rounds, difference = [], 0.0
    for number in range(setting.rounds):
        first = theirs(many, size)
        own = setting.measure(prediction.job_of("predict-glotune", world, many, precision))
        difference = max(difference, prediction.largest_difference(first, own))
        rounds.append({"best": first["seconds"], "glotune": own["seconds"]})
        say(f"prediction {precision}, round {number + 1}: pipeline {first['seconds']:.2f} s (batch {size}), "
            f"glotune {own['seconds']:.2f} s, probabilities differ by {difference:.1e}")  # fmt: skip
        keep(
            {
                "precision": precision,
                "batch_size": size,
                "seconds_per_text_by_batch_size": {str(each): value for each, value in sizes.items()},
                "texts": many,
                "largest_difference": difference,
                "rounds": rounds,
                "ratios": {"best": ratio(rounds)},
            }
        )


def tokenize(world: World, setting: Setting, say: Say, keep: Keep) -> None:
    """A million rows through ours; as many as is bearable through both."""
    compared, small = setting.compared_rows, max(1000, setting.compared_rows // 5)

    def theirs(rows: int, processes: int | None) -> Result:
        return setting.measure(tokenizing.job_of("tokenize-datasets", world, rows, processes=processes))

    speeds = {str(each): theirs(small, each)["seconds"] for each in tokenizing.PROCESSES}
    fastest = min(tokenizing.PROCESSES, key=lambda each: speeds[str(each)])
    rounds = []
    for number in range(setting.rounds):
        first = theirs(compared, fastest)
        own = setting.measure(tokenizing.job_of("tokenize-glotune", world, compared))
        if own["tokens"] != first["tokens"]:
            raise AssertionError(f"both sides tokenize alike: {own['tokens']} and {first['tokens']} tokens")
        rounds.append({"best": first["seconds"], "glotune": own["seconds"]})
        say(f"tokenizing {compared} rows, round {number + 1}: datasets.map {first['seconds']:.2f} s, "
            f"glotune {own['seconds']:.2f} s")  # fmt: skip
        found = {"processes": fastest, "compared_rows": compared, "rounds": rounds, "ratios": {"best": ratio(rounds)}}
        keep(found)
    peaks, own_peaks = {}, {}
    for rows in (setting.tokenizing_rows // 10, setting.tokenizing_rows):
        whole = setting.measure_memory(tokenizing.job_of("tokenize-glotune", world, rows))
        peaks[str(rows)], own_peaks[str(rows)] = whole["peak_memory_bytes"], whole["own_memory_bytes"]
    shown = ", ".join(f"{rows} rows {own_peaks[rows] / 1e6:.0f} MB of {peak / 1e6:.0f}" for rows, peak in peaks.items())
    say(f"tokenizing {setting.tokenizing_rows} rows: {whole['seconds']:.1f} s, own memory of all at the peak: {shown}")
    sizes = {"peak_bytes_by_rows": peaks, "own_bytes_by_rows": own_peaks}
    keep({**found, "rows": whole["rows"], "seconds_of_all": whole["seconds"], **sizes})


def studying(
    row: TrainingRow, world: World, setting: Setting, say: Say, keep: Keep, per_device: int | None
) -> None:  # fmt: skip
    """Several rates over one prefix against as many best-practice runs of the same recipe.

    Args:
        per_device: Trainer's fastest, where it is known already.
    """
    if per_device is None:
        per_device, _ = fastest_per_device(row, world, setting, say)
    rounds = []
    for number in range(min(2, setting.rounds)):
        best = setting.measure(opponent.best_job(row, world, per_device, epochs=row.measured_epochs))
        own = setting.measure(study.job_of(row, world, setting.rates))
        found = {
            "best": own["runs"] * all_epochs(best["epoch_seconds"], row.epochs),
            "glotune": own["fill_seconds"] + row.epochs * sum(own["epoch_seconds"]),
            "fill": own["fill_seconds"],
            "wall": own["wall_seconds"],
        }
        rounds.append(found)
        say(f"study, round {number + 1}: " + ", ".join(f"{name} {value:.4g} s" for name, value in found.items()))
        keep(
            {
                "per_device": per_device,
                "rates": list(setting.rates),
                "epochs": row.epochs,
                "texts": row.texts,
                "rounds": rounds,
                "ratios": {"best": ratio(rounds)},
            }
        )
