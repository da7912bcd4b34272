"""The kinds of target that a recipe can name: one object for each, asked wherever they differ in what is shown.

How targets are read, learned and judged is code of its own (`glotune.data.targets`, `glotune.tasks`,
`glotune.stats`); here stands what is only named: metrics and words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TaskName = Literal["single_label", "multi_label", "score"]


@dataclass(frozen=True)
class Kind:
    """What is true of every run of one task.

    Attributes:
        name: as ``task`` in a recipe.
        problem_type: as ``config.json`` says it, by which ``transformers.pipeline`` reads logits.
        metric: by which runs of this task are ranked, compared and told where nothing else is asked for.
        choosable: what ``evaluate.metric`` may name.
        of_one: scores of one class or label, by its place; ``minority_recall`` is of the rarest.
        told: columns of a report's tables of results.
        untold: scores of a run that are neither told nor counted.
        drawn: what a picture shows of each language side by side.
        followed: what an evaluation while training says.
        pair: two metrics for where only two have room; the second is `metric`.
        counted: metrics that have an interval on each language and on means over languages.
        no_skill: the cheap model that knows the targets' frequencies alone, in words.
        named: what a column of targets is called.
    """

    name: TaskName
    problem_type: str
    metric: str
    choosable: tuple[str, ...]
    of_one: tuple[str, ...]
    told: tuple[str, ...]
    untold: tuple[str, ...]
    drawn: tuple[str, ...]
    followed: tuple[str, ...]
    pair: tuple[str, str]
    counted: tuple[str, ...]
    no_skill: str
    named: str

    @property
    def scored(self) -> tuple[str, ...]:
        """Every score of a run on one language; some are None where they can't be asked."""
        return tuple(dict.fromkeys((*self.told, *self.counted, *self.untold)))


_OF_ONE = ("precision", "recall", "f1", "minority_recall")
KINDS: dict[str, Kind] = {
    each.name: each
    for each in (
        Kind(
            name="single_label",
            problem_type="single_label_classification",
            metric="macro_f1",
            choosable=("macro_f1", "weighted_f1", "accuracy", "mcc", "loss"),
            of_one=_OF_ONE,
            told=(
                "accuracy", "macro_f1", "weighted_f1", "mcc", "roc_auc", "ece", "loss", "js_distance", "agreement",
                "agreement_ceiling",
            ),
            untold=("macro_precision", "macro_recall", "weighted_precision", "weighted_recall"),
            drawn=("accuracy", "macro_f1", "weighted_f1"),
            followed=("loss", "accuracy", "macro_f1", "weighted_f1", "mcc"),
            pair=("accuracy", "macro_f1"),
            counted=("accuracy", "macro_f1", "weighted_f1", "mcc", "js_distance", "agreement", "agreement_ceiling"),
            no_skill="Majority class",
            named="class",
        ),
        Kind(
            name="multi_label",
            problem_type="multi_label_classification",
            metric="macro_f1",
            choosable=(
                "macro_f1", "micro_f1", "weighted_f1", "samples_f1", "average_precision", "subset_accuracy", "loss",
            ),
            of_one=_OF_ONE,
            told=(
                "macro_f1", "micro_f1", "samples_f1", "average_precision", "subset_accuracy", "hamming_loss", "ece",
                "loss",
            ),
            untold=("weighted_precision", "weighted_recall", "roc_auc"),
            drawn=("macro_f1", "micro_f1", "samples_f1"),
            followed=(
                "loss", "macro_f1", "micro_f1", "weighted_f1", "samples_f1", "subset_accuracy", "average_precision",
            ),
            pair=("micro_f1", "macro_f1"),
            counted=(
                "macro_f1", "micro_f1", "weighted_f1", "samples_f1", "average_precision", "macro_precision",
                "macro_recall", "subset_accuracy", "hamming_loss",
            ),
            no_skill="Label frequencies",
            named="label",
        ),
        Kind(
            name="score",
            problem_type="regression",
            metric="pearson",
            choosable=("pearson", "spearman", "kappa", "rmse", "mae", "loss"),
            of_one=(),
            told=("pearson", "spearman", "kappa", "rmse", "mae", "loss"),
            untold=(),
            drawn=("pearson", "spearman"),
            followed=("loss", "pearson", "spearman", "kappa", "rmse", "mae"),
            pair=("spearman", "pearson"),
            counted=("pearson", "spearman", "kappa", "rmse", "mae"),
            no_skill="Mean score",
            named="score",
        ),
    )
}  # fmt: skip
CHOOSABLE = tuple(dict.fromkeys(metric for kind in KINDS.values() for metric in kind.choosable))
