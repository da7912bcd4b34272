"""Does glotune reach Trainer's scores in languages without a label? English tweets, real weights, several seeds.

Both sides train on the English of UMSAB with the same settings, choose the best epoch by English validation, and answer
the test texts of all six languages; each in a process of its own, in turns (A B A B). The claim is stated before:
glotune's mean macro-F1 over the five other languages is not more than one point below Trainer's.

As shipped, each side has its own order of the texts, head and dropout, so that seeds scatter on either side. With the
same steps both begin with the same head, take the same texts in the same order, and drop nothing: what is left is
rounding, and what glotune leaves out.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.speed.side import Result, measure
from benchmarks.speed.world import LABELS, LANGUAGES
from benchmarks.zero_shot_sides import METRIC, rows_of
from glotune.stats.arrays import Outcomes
from glotune.stats.seed_scores import run_score, score_contrast

TARGETS = LANGUAGES[1:]
MARGIN = 0.01
"""Of macro-F1: what "not inferior" allows."""


def run(
    data: Path, encoder: Path, seeds: int, threads: int, out: Path, device: str = "cpu", same_steps: bool = False
) -> str:
    """Trains both sides with each seed that `out` does not hold yet, and returns the tables.

    Args:
        data: folder with ``umsab/LANGUAGE.csv``.
        encoder: a folder with real weights.
        out: JSON with what each seed gave; written after every pair, so that a second call goes on.
        device: ``cpu`` or ``cuda``, of both sides.
        same_steps: the same head, texts and order on both sides, and no dropout.
    """
    found: dict[str, dict[str, Result]] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    for seed in range(seeds):
        if str(seed) in found:
            continue
        job = {
            "data": str(data / "umsab"),
            "encoder": str(encoder),
            "seed": seed,
            "device": device,
            "same_steps": same_steps,
        }
        sides = ("glotune", "trainer") if seed % 2 == 0 else ("trainer", "glotune")
        pair = {side: measure({**job, "kind": f"zero-shot-{side}"}, threads) for side in sides}
        found[str(seed)] = pair
        out.write_text(json.dumps(found) + "\n", encoding="utf-8")
        print(f"seed {seed}: " + ", ".join(f"{side} {pair[side]['seconds']:.0f} s" for side in sides), flush=True)
    return tables(list(found.values()), gold(data / "umsab"))


def gold(folder: Path) -> dict[str, list[int]]:
    """Language -> label ids of its test texts."""
    return {
        language: [LABELS.index(row["label"]) for row in rows_of(folder, language, "test")] for language in LANGUAGES
    }


def tables(pairs: Sequence[dict[str, Result]], gold_B: dict[str, list[int]]) -> str:
    """Markdown: scores by language over the seeds with intervals of the difference, the claim, and the times."""
    runs = {side: [_outcomes(pair[side], gold_B) for pair in pairs] for side in ("glotune", "trainer")}
    lines = ["| macro-F1, % | glotune | Trainer | difference, points |", "| --- | ---: | ---: | ---: |"]
    groups = {language: (language,) for language in LANGUAGES} | {"mean of the five others": TARGETS}
    for name, languages in groups.items():
        chosen = {side: [{each: run[each] for each in languages} for run in found] for side, found in runs.items()}
        means = [100 * statistics.mean(run_score(run, METRIC) for run in chosen[side]) for side in chosen]
        difference = score_contrast([chosen["glotune"], chosen["trainer"]], [1.0, -1.0], METRIC)
        gap, half = 100 * float(difference.estimate), 100 * float(difference.half_width(0.95))
        lines.append(
            f"| {name} | {means[0]:.1f} | {means[1]:.1f} | {gap:+.1f} [{gap - half:+.1f}, {gap + half:+.1f}] |"
        )
    held = gap - half > -100 * MARGIN
    lines += [
        "",
        f"Not inferior by {100 * MARGIN:g} point: {'supported' if held else 'not supported'}, {len(pairs)} seeds.",
    ]
    ratios = [pair["trainer"]["seconds"] / pair["glotune"]["seconds"] for pair in pairs]
    on_gpu = all(pair["glotune"].get("device_bytes") for pair in pairs)
    where, bytes_ = ("on the GPU", "device_bytes") if on_gpu else ("of the process", "peak_memory_bytes")
    peaks = [pair["glotune"][bytes_] / pair["trainer"][bytes_] for pair in pairs]
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    lines.append(f"Trainer's time over glotune's, by seed: {shown}; median {statistics.median(ratios):.2f}.")
    agreed = [_agreement(*pair) for pair in zip(*runs.values(), strict=True)]
    lines.append(f"Test texts of all six languages answered alike: {100 * statistics.mean(agreed):.1f} %.")
    lines.append(f"Peak memory {where}, glotune's over Trainer's: {statistics.median(peaks):.2f}.")
    return "\n".join(lines)


def _outcomes(found: Result, gold_B: dict[str, list[int]]) -> dict[str, Outcomes]:
    return {
        language: Outcomes(np.asarray(gold_B[language]), np.asarray(probabilities))
        for language, probabilities in found["probabilities"].items()
    }


def _agreement(first: dict[str, Outcomes], second: dict[str, Outcomes]) -> float:
    """Share of the texts that two runs answer alike."""
    alike = [first[name].prediction_B == second[name].prediction_B for name in first]
    return float(np.concatenate(alike).mean())
