"""What a run cost, from its own files: times, speeds, epochs, parameters."""

from __future__ import annotations

import math
from typing import Any

from glotune.run.directory import RunDirectory
from glotune.run.history import read_history


def measured(run: RunDirectory) -> dict[str, Any]:
    """Costs of a run by the names of `glotune.stats.traits`; None where the run can't tell.

    Times are those of the optimizer steps that count: a step that was repeated after a crash counts once. The training
    time of a run in rounds is that of all its rounds; whatever else is told is of the round that was kept.
    """
    manifest, history = run.read_manifest(), read_history(run.events())
    steps, seconds = len(history.steps), sum(point.seconds for point in history.steps)
    texts, tokens = (sum(getattr(point, name) for point in history.steps) for name in ("texts", "tokens"))
    rounds = manifest.self_training
    all_seconds = seconds if rounds is None or rounds.kept is None else rounds.train_seconds
    timed = steps > 0 and math.isfinite(seconds) and seconds > 0
    return {
        "steps": steps,
        "epochs": history.steps[-1].epoch if history.steps else None,
        "best_epoch": history.best_epoch,
        "train_seconds": all_seconds if timed else None,
        "seconds_per_step": seconds / steps if timed else None,
        "texts_per_second": texts / seconds if timed else None,
        "tokens_per_second": tokens / seconds if timed else None,
        "trainable_parameters": manifest.changes[-1].trainable_after if manifest.changes else None,
    }
