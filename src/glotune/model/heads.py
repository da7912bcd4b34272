"""What a saved classification head answers, and whether it is all there: nothing is answered that wasn't learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from glotune.errors import UserError


@dataclass(frozen=True)
class StatedHead:
    """What a ``config.json`` says of its head, read as transformers reads it."""

    labels: list[str]
    """Names in the order of the class ids; LABEL_0, LABEL_1 ... where only their number is said."""
    other_task: str | None
    """What it answers instead of one class of several; None for a head that does choose one."""

    @staticmethod
    def of(config: Any) -> StatedHead:
        """Of a ``PreTrainedConfig``."""
        labels = [str(config.id2label[index]) for index in sorted(config.id2label)]
        return StatedHead(labels, _other_task(config))


def _other_task(config: Any) -> str | None:
    if config.problem_type == "multi_label_classification":
        return "several labels per text (problem_type multi_label_classification)"
    if config.problem_type == "regression":
        return "numbers (problem_type regression)"
    return "one number per text (num_labels 1)" if config.num_labels == 1 else None


def lacking(info: dict[str, Any]) -> set[str]:
    """Weights that the files lack or hold in another shape, from transformers' account of a loading."""
    return set(info["missing_keys"]) | {key for key, *_ in info["mismatched_keys"]}


def refuse_unusable(config: Any, name: str) -> None:
    """Checks what a ``config.json`` says of the head of a model to predict with.

    Raises:
        UserError: no classification head, one of another task, or labels that don't name each class apart.
    """
    stated, kinds = StatedHead.of(config), config.architectures or []
    if kinds and not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        raise _headless(name, f"it is a {kinds[0]}")
    if stated.other_task:
        raise UserError(
            f"the head of {name} answers {stated.other_task}",
            where="config.json",
            expected="a head that chooses one of two or more classes",
            remedy="Open it with transformers.pipeline, or train a classifier with: glotune train",
        )
    classes = len(stated.labels)
    if sorted(config.id2label) != list(range(classes)) or len(set(stated.labels)) < classes:
        raise UserError(
            f"id2label of {name} is {config.id2label}",
            where="config.json",
            expected=f"a name of its own for each class from 0 to {classes - 1}",
        )


def refuse_partial(info: dict[str, Any], name: str) -> None:
    """Checks that a head's weights are all there and as large as its ``config.json`` says.

    Raises:
        UserError: otherwise; names the weights.
    """
    for weight, stored, wanted in sorted(info["mismatched_keys"]):
        raise UserError(
            f"{weight} of {name} has the shape {list(stored)}, its config.json asks for {list(wanted)}",
            where="config.json",
            expected="id2label (or num_labels) with one entry per output of the head",
        )
    if info["missing_keys"]:
        raise _headless(name, f"its weights lack {', '.join(sorted(info['missing_keys']))}")


def _headless(name: str, why: str) -> UserError:
    return UserError(
        f"{name} holds an encoder without a classification head: {why}",
        expected="a trained text classifier",
        remedy="Train one with: glotune train",
    )
