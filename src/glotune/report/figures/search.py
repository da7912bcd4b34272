"""The figure of a search: what each trial was worth, by each key of the space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from glotune.recipe.space import Axis
from glotune.report.figures.model import Slice, SlicePoint, Slices
from glotune.report.scores import display
from glotune.run.trials import SearchRecord, Trial
from glotune.stats.traits import trait
from glotune.words import plain

MOST_PANELS = 12


def search_slices(record: SearchRecord, trials: Sequence[Trial], axes: Sequence[Axis]) -> Slices | None:
    """A panel for each key, of at most `MOST_PANELS`; None where no trial has a score."""
    scored = [trial for trial in trials if trial.value is not None and math.isfinite(trial.value)]
    if not scored:
        return None
    panels = tuple(
        Slice(
            axis.key,
            tuple(_point(trial, axis, record) for trial in scored),
            is_log=axis.dimension.log,
            choices=tuple(plain(choice) for choice in axis.choices or ()),
        )
        for axis in axes[:MOST_PANELS]
    )
    is_percent = trait(record.metric).is_percent
    oracle = ", target validation (oracle)" if record.on == "target" else ""
    return Slices(f"{display(record.metric)}{', %' if is_percent else ''}{oracle}", is_percent, panels)


def _point(trial: Trial, axis: Axis, record: SearchRecord) -> SlicePoint:
    value = trial.values[axis.key]
    x = float(value) if axis.choices is None else float(axis.place(value) or 0)
    outcome: Literal["complete", "pruned", "unsound"] = "complete" if trial.is_sound else "unsound"
    if trial.state == "pruned":
        outcome = "pruned"
    return SlicePoint(x, trial.value or 0.0, outcome, trial.number == record.winner, trial.is_plain)
