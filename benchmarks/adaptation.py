"""What adapting an encoder to a language is worth: nano against nano adapted to unlabelled AfriSenti tweets."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.transfer import METRIC, Row, RunOutcomes, outcomes_on_test, row_of
from glotune.recipe import Recipe, load_recipe
from glotune.verbs.lifecycle import Run
from glotune.verbs.pretrain import pretrain
from glotune.verbs.train import train


def recipe_for(data: Path, language: str, encoder: str, seed: int) -> Recipe:
    """Fine-tuning on the language's own labelled tweets."""
    file = str(data / "afrisenti" / f"{language}.csv")
    return load_recipe(
        Recipe.model_validate(
            {
                "name": f"afrisenti-{language}",
                "model": {"name": encoder},
                "data": {
                    "train": {language: file},
                    "validation": {language: file},
                    "test": {language: file},
                    "labels": ["negative", "neutral", "positive"],
                    "max_length": 64,
                },
                "optimizer": {"learning_rate": 3e-4},
                "schedule": {"name": "linear", "warmup_ratio": 0.1},
                "train": {"epochs": 4, "batch_size": 32, "precision": "fp32"},
                "seed": seed,
            }
        )
    )


def adapt(data: Path, language: str, encoder: Path, new_pieces: int, out: Path) -> Run:
    """The recipe `adapt` over the texts of the language's training rows; their labels stay unread."""
    return pretrain(
        "adapt",
        {
            f"data.text.{language}": str(data / "afrisenti" / f"{language}.csv"),
            "model.name": str(encoder),
            "model.new_pieces": new_pieces,
            "data.max_length": 64,
        },
        out=out,
    )


def measure(data: Path, language: str, encoder: Path, seeds: int, new_pieces: int) -> Row:
    """Fine-tunes both encoders with each seed; the difference on the test split.

    Returns:
        A row whose `pretrained` is the adapted encoder and whose `other` is the unadapted one.
    """
    adapted: list[RunOutcomes] = []
    unadapted: list[RunOutcomes] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = adapt(data, language, encoder, new_pieces, folder / "adapted")
        losses = [event.data["masked_loss"] for event in made.directory.events() if event.kind == "evaluation"]
        print(f"adapted: held-out masked loss {losses[0]:.3f} after the first epoch, {losses[-1]:.3f} kept", flush=True)
        for seed in range(seeds):
            for found, source, label in ((adapted, made.path / "model", "adapted"), (unadapted, encoder, "unadapted")):
                run = train(
                    recipe_for(data, language, str(source), seed), out=folder / f"{label}-run-{seed}", report=False
                )
                found.append(outcomes_on_test(run))
                print(f"{label}, seed {seed}: {run.metrics['test'][language][METRIC]:.4f}", flush=True)
    return row_of(language, [language], adapted, unadapted)


def claim(row: Row, seeds: int) -> str:
    """The result as one sentence, whatever it is."""
    low, high = 100 * (row.difference - row.half_width), 100 * (row.difference + row.half_width)
    if low > 0:
        said = "adaptation helped"
    elif high < 0:
        said = "adaptation hurt"
    else:
        said = "no difference is shown"
    return (
        f"{row.name}, {seeds} seeds: macro-F1 {100 * row.pretrained:.1f} adapted, {100 * row.other:.1f} as it is; "
        f"difference {100 * row.difference:+.1f} points [{low:+.1f}, {high:+.1f}]: {said}."
    )
