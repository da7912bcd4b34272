"""What pretraining is worth: the embedded encoder against a random one of the same shape, on UMSAB's tweets."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.world import LANGUAGES
from glotune.evidence.judgement import recorded_outcomes
from glotune.recipe import Recipe, load_recipe
from glotune.stats.arrays import Answered
from glotune.stats.seed_scores import run_score, score_contrast
from glotune.verbs.lifecycle import Run
from glotune.verbs.train import train

METRIC = "macro_f1"
RunOutcomes = Mapping[str, Answered]


@dataclass(frozen=True)
class Row:
    """Languages: mean macro-F1 of both encoders over the seeds, and the difference with its 95 % interval."""

    name: str
    pretrained: float
    other: float
    difference: float
    half_width: float


def recipe_for(data: Path, encoder: str, seed: int) -> Recipe:
    """English tweets in, five other languages out."""
    folder = data / "umsab"
    return load_recipe(
        Recipe.model_validate(
            {
                "name": "umsab",
                "model": {"name": encoder},
                "data": {
                    "train": {"en": str(folder / "en.csv")},
                    "validation": {"en": str(folder / "en.csv")},
                    "test": {language: str(folder / f"{language}.csv") for language in LANGUAGES},
                    "labels": ["negative", "neutral", "positive"],
                    "max_length": 96,
                },
                "optimizer": {"learning_rate": 3e-4},
                "schedule": {"name": "linear", "warmup_ratio": 0.1},
                "train": {"epochs": 6, "batch_size": 32, "precision": "fp32"},
                "seed": seed,
            }
        )
    )


def random_twin(encoder: Path, folder: Path, seed: int) -> Path:
    """An encoder of the same shape and tokenizer with fresh weights."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    torch.manual_seed(seed)
    AutoModel.from_config(AutoConfig.from_pretrained(encoder)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
    return folder


def outcomes_on_test(run: Run) -> RunOutcomes:
    """Language -> recorded test predictions."""
    return recorded_outcomes(run.directory)


def measure(data: Path, encoder: Path, seeds: int, against: Path | None = None) -> list[Row]:
    """Trains both encoders with each seed; one row per test language, and one for the mean of those without labels.

    Args:
        against: another encoder's folder; None: one of the same shape with random weights, anew for each seed.
    """
    pretrained: list[RunOutcomes] = []
    others: list[RunOutcomes] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(seeds):
            other = against or random_twin(encoder, folder / f"twin-{seed}", seed)
            for found, source, label in ((pretrained, encoder, "nano"), (others, other, "other")):
                run = train(recipe_for(data, str(source), seed), out=folder / f"{label}-{seed}", report=False)
                found.append(outcomes_on_test(run))
                print(f"{label}, seed {seed}: {_shown(run)}", flush=True)
    return rows_of(pretrained, others)


def rows_of(pretrained: list[RunOutcomes], others: list[RunOutcomes]) -> list[Row]:
    """What `measure` found, from the outcomes of its runs."""
    groups = {language: (language,) for language in LANGUAGES} | {"mean of the five targets": LANGUAGES[1:]}
    return [row_of(name, languages, pretrained, others) for name, languages in groups.items()]


def row_of(name: str, languages: Sequence[str], pretrained: list[RunOutcomes], others: list[RunOutcomes]) -> Row:
    """The mean over these languages."""
    sides = [[{each: run[each] for each in languages} for run in runs] for runs in (pretrained, others)]
    contrast = score_contrast(sides, [1.0, -1.0], METRIC)
    ours, theirs = (sum(run_score(run, METRIC) for run in runs) / len(runs) for runs in sides)
    return Row(name, ours, theirs, float(contrast.estimate), float(contrast.half_width(0.95)))


def _shown(run: Run) -> str:
    return ", ".join(f"{language} {scores[METRIC]:.3f}" for language, scores in run.metrics["test"].items())


def table(rows: list[Row], seeds: int, against: str = "random") -> str:
    """Markdown, in points."""
    lines = [
        f"| language | nano, {seeds} seeds | {against}, {seeds} seeds | difference, points [95 % interval] |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        low, high = 100 * (row.difference - row.half_width), 100 * (row.difference + row.half_width)
        lines.append(
            f"| {row.name} | {100 * row.pretrained:.1f} | {100 * row.other:.1f} | "
            f"{100 * row.difference:+.1f} [{low:+.1f}, {high:+.1f}] |"
        )
    return "\n".join(lines)
