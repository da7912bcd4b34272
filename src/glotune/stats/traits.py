"""What is true of each metric before it is measured: the way it improves, its average, its unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glotune.errors import UserError, did_you_mean

Direction = Literal["higher", "lower"]
Average = Literal["macro", "weighted"]


@dataclass(frozen=True)
class Trait:
    """One metric.

    Attributes:
        name: the key in ``metrics.json`` and in the recipe.
        display: the name in tables and figures.
        direction: which way is better.
        average: over classes; None where the metric has no such average.
        is_percent: shown times 100, differences in points; otherwise shown with `unit`.
        unit: of the raw value, empty for a pure number.
        scale: how two values compare: their difference, or their ratio for times and sizes.
    """

    name: str
    display: str
    direction: Direction = "higher"
    average: Average | None = None
    is_percent: bool = True
    unit: str = ""
    scale: Literal["difference", "ratio"] = "difference"

    @property
    def higher_is_better(self) -> bool:
        """Whether more of it is an improvement."""
        return self.direction == "higher"


def _cost(name: str, display: str, unit: str, direction: Direction = "lower") -> Trait:
    return Trait(name, display, direction, is_percent=False, unit=unit, scale="ratio")


TRAITS: dict[str, Trait] = {
    each.name: each
    for each in (
        Trait("accuracy", "Accuracy"),
        Trait("macro_f1", "Macro-F1", average="macro"),
        Trait("weighted_f1", "Weighted-F1", average="weighted"),
        Trait("macro_precision", "Macro-precision", average="macro"),
        Trait("macro_recall", "Macro-recall", average="macro"),
        Trait("weighted_precision", "Weighted-precision", average="weighted"),
        Trait("weighted_recall", "Weighted-recall", average="weighted"),
        Trait("precision", "Precision"),
        Trait("recall", "Recall"),
        Trait("f1", "F1"),
        Trait("minority_recall", "Minority recall"),
        Trait("micro_f1", "Micro-F1"),
        Trait("samples_f1", "F1 by text"),
        Trait("average_precision", "Average precision", average="macro"),
        Trait("subset_accuracy", "All labels right"),
        Trait("hamming_loss", "Labels wrong", "lower"),
        Trait("pearson", "Pearson's r", is_percent=False),
        Trait("spearman", "Spearman's rho", is_percent=False),
        Trait("kappa", "Quadratic kappa", is_percent=False),
        Trait("rmse", "RMSE", "lower", is_percent=False),
        Trait("mae", "MAE", "lower", is_percent=False),
        Trait("roc_auc", "ROC AUC", average="macro"),
        Trait("mcc", "MCC", is_percent=False),
        Trait("ece", "Calibration error", "lower"),
        Trait("loss", "Loss", "lower", is_percent=False, unit="nats"),
        Trait("js_distance", "Jensen-Shannon distance", "lower", is_percent=False),
        Trait("agreement", "Agreement with votes"),
        Trait("agreement_ceiling", "Annotators' agreement"),
        Trait("transfer_gap", "Transfer gap", "lower"),
        _cost("train_seconds", "Training time", "s"),
        _cost("seconds_per_step", "Time per step", "s"),
        _cost("total_seconds", "Total time", "s"),
        _cost("texts_per_second", "Speed", "texts/s", "higher"),
        _cost("tokens_per_second", "Token speed", "tokens/s", "higher"),
        _cost("peak_memory_bytes", "Peak memory", "B"),
        _cost("epochs", "Epochs", "epochs"),
        _cost("best_epoch", "Epochs to the best checkpoint", "epochs"),
        _cost("trainable_parameters", "Trainable parameters", "parameters"),
    )
}


def trait(name: str) -> Trait:
    """The trait of a metric by its name.

    Raises:
        UserError: no such metric; names the nearest.
    """
    if name not in TRAITS:
        raise UserError(
            f"metric {name!r}",
            expected="one of " + ", ".join(TRAITS),
            remedy=did_you_mean(name, TRAITS),
        )
    return TRAITS[name]
