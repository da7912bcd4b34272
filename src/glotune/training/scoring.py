"""Scores per language from the network's outputs."""

from __future__ import annotations

import numpy as np

from glotune.errors import RunError
from glotune.metrics.scores import Scores, compute_scores
from glotune.training.evaluate import Outputs, by_language
from glotune.training.parts import Parts


def language_scores(parts: Parts, split: str, outputs: Outputs) -> dict[str, Scores]:
    """Language -> all scores on that split.

    Raises:
        RunError: the network's answers are not finite.
    """
    if not np.isfinite(outputs.logits_NC).all():
        count = int((~np.isfinite(outputs.logits_NC).all(axis=1)).sum())
        raise RunError(
            f"the network's answers to {count} of {len(outputs.losses_N)} {split} texts are not finite: it diverged. "
            "Lower optimizer.learning_rate or add warmup"
        )
    labels = parts.stores[split].labels
    probabilities = outputs.probabilities_NC
    return {
        language: compute_scores(labels[rows], probabilities[rows], outputs.losses_N[rows])
        for language, rows in by_language(parts, split).items()
    }
