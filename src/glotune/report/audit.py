"""Checks that ``metrics.json`` follows from the predictions, and scores the test without leaked texts."""

from __future__ import annotations

from dataclasses import dataclass

from glotune.recipe.kinds import TaskName
from glotune.run.data import RunData
from glotune.run.records import Evaluation, Interval
from glotune.stats.bootstrap import score_intervals
from glotune.stats.evaluation import INTERVAL_SEED
from glotune.stats.traits import trait

TOLERANCE = 1e-6
RECOMPUTED: dict[TaskName, str] = {
    "single_label": "Accuracy, F1 and MCC",
    "multi_label": "F1, precision, recall, average precision and the shares of wrong labels",
    "score": "Correlations and errors",
}
"""What `audit` recomputes, in words."""


@dataclass(frozen=True)
class Audit:
    """Whether the scores follow from the predictions."""

    checked: int
    """Languages and splits whose scores were recomputed."""
    unchecked: tuple[str, ...]
    """``split/language`` without readable predictions."""
    recomputed: str
    """Which scores, in words."""
    differences: tuple[str, ...]
    """Sentences: which score of metrics.json differs from its predictions, and by how much."""

    @property
    def agreement(self) -> str:
        """The sentence that all is as stated; empty where nothing was recomputed or something differs."""
        if not self.checked or self.differences:
            return ""
        return (
            f"{self.recomputed} of {self.checked} evaluations were recomputed from the prediction records and agree "
            "with metrics.json."
        )

    @property
    def left_out(self) -> str:
        """The sentence that names what could not be recomputed; empty where all could."""
        if not self.unchecked:
            return ""
        return f"Without readable predictions, so not recomputed: {', '.join(self.unchecked)}."


def audit(run: RunData) -> Audit:
    """Recomputes every score of ``metrics.json`` that the reports show from the prediction records."""
    checked, unchecked, differences = 0, [], []
    for split, evaluations in run.evaluations.items():
        for language, evaluation in evaluations.items():
            table = run.predictions(split, language)
            if table is None or not len(table) or not table.outcomes.is_finite:
                unchecked.append(f"{split}/{language}")
                continue
            checked += 1
            values = table.outcomes.values()
            for metric in run.kind.counted:
                stated, found = evaluation.scores.get(metric), values.get(metric)
                if stated is not None and found is not None and abs(stated - found) > TOLERANCE:
                    differences.append(
                        f"{split}/{language}: metrics.json says {metric} {stated:.6f}, its predictions {found:.6f}"
                    )
    return Audit(checked, tuple(unchecked), RECOMPUTED[run.kind.name], tuple(differences))


@dataclass(frozen=True)
class LeakEffect:
    """One language with and without its leaked texts.

    `without` is None where nothing is left, or where several files share row numbers; a macro score in it is None where
    no text of a class is left. `intervals` are those of `without`: 95 %, over texts.
    """

    language: str
    leaked: int
    n: int
    with_leaks: dict[str, float | None]
    without: dict[str, float | None] | None
    intervals: dict[str, Interval]


def leak_effects(run: RunData) -> list[LeakEffect]:
    """The main split scored again without texts that stand in an earlier split too."""
    split = run.main_split
    if split is None:
        return []
    effects = []
    for language, rows in run.data.leaked.get(split, {}).items():
        evaluation = run.main.get(language)
        if evaluation is None or not rows:
            continue
        effects.append(_effect(run, split, language, evaluation, len(rows)))
    return effects


def _effect(run: RunData, split: str, language: str, evaluation: Evaluation, leaked: int) -> LeakEffect:
    table = run.predictions(split, language)
    whole = None if table is None or not table.outcomes.is_finite else table.outcomes
    listed_B = None if table is None else run.leaked_among(table)
    left = None if table is None or whole is None or listed_B is None else table.without(listed_B)
    if whole is None or left is None:
        return LeakEffect(language, leaked, evaluation.n, evaluation.scores, None, {})
    # A class all of whose texts leaked would count as F1 0, as if its texts alone had been worth so much.
    lost = any(count and not left.support.get(label) for label, count in whole.support.items())
    values = left.values()
    told = [metric for metric in values if not (lost and trait(metric).average == "macro")]
    return LeakEffect(
        language,
        leaked,
        evaluation.n,
        evaluation.scores,
        {metric: value if metric in told else None for metric, value in values.items()},
        score_intervals(left, [metric for metric in run.kind.pair if metric in told], seed=INTERVAL_SEED),
    )
