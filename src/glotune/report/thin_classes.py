"""Classes of which a split has few texts, or none: their scores move by points with each text, or are a convention."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from glotune.run.records import Evaluation
from glotune.words import named

FEWEST_TEXTS = 10
MARK = "†"
"""Beside every score that such a class enters."""
MOST_NAMED = 8


def class_texts(evaluation: Evaluation, labels: Sequence[str]) -> dict[str, int]:
    """Label -> its texts; empty where the evaluation does not tell."""
    if not evaluation.confusion:
        return {label: int(each["support"]) for label, each in evaluation.per_class.items() if "support" in each}
    if len(evaluation.confusion) != len(labels):
        return {}
    return {label: sum(row) for label, row in zip(labels, evaluation.confusion, strict=True)}


def is_thin(evaluation: Evaluation, labels: Sequence[str]) -> bool:
    """Whether a class has fewer than `FEWEST_TEXTS` there."""
    return any(count < FEWEST_TEXTS for count in class_texts(evaluation, labels).values())


def absent_classes(evaluations: Iterable[Evaluation], labels: Sequence[str]) -> dict[str, list[str]]:
    """Language -> the labels that no text has there."""
    found = {
        each.language: [label for label, count in class_texts(each, labels).items() if not count]
        for each in evaluations
    }
    return {language: absent for language, absent in found.items() if absent}


def about_thin_classes(evaluations: Sequence[Evaluation], labels: Sequence[str]) -> list[str]:
    """A sentence on the classes with few texts in these languages of a split, and one on those without any."""
    few = [
        f"{label} in {named(each.language)} ({count})"
        for each in evaluations
        for label, count in class_texts(each, labels).items()
        if 0 < count < FEWEST_TEXTS
    ]
    split = evaluations[0].split if evaluations else ""
    told = []
    if few:
        told.append(
            f"{MARK} Fewer than {FEWEST_TEXTS} {split} texts: {_listed(few)}. Scores of these classes, and macro "
            "scores that they enter, move by points with a single text."
        )
    absent = absent_classes(evaluations, labels)
    if absent:
        listed = [f"{', '.join(missing)} in {named(language)}" for language, missing in absent.items()]
        told.append(
            f"{MARK} No {split} text at all: {_listed(listed)}. An absent class counts as F1 0 in macro scores, as in "
            "scikit-learn, so they don't compare with macro scores where it is present."
        )
    return told


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items[:MOST_NAMED]) + (f" and {len(items) - MOST_NAMED} more" if len(items) > MOST_NAMED else "")
