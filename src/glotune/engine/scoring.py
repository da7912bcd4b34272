"""Scores per language from the network's outputs."""

from __future__ import annotations

from glotune.engine.evaluate import Outputs, by_language
from glotune.engine.parts import Parts
from glotune.errors import RunError
from glotune.stats.scores import Scores, score_outcomes


def language_scores(parts: Parts, split: str, outputs: Outputs) -> dict[str, Scores]:
    """Language -> all scores on that split.

    Raises:
        RunError: the network's answers are not finite.
    """
    if outputs.refused:
        raise RunError(
            f"the network's answers to {outputs.refused} of {len(outputs.losses_N)} {split} texts are not finite: "
            "it diverged. Lower optimizer.learning_rate or add warmup"
        )
    labels = parts.stores[split].labels
    return {
        language: score_outcomes(outputs.outcomes(rows, labels)) for language, rows in by_language(parts, split).items()
    }
