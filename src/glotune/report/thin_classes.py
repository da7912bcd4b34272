"""Classes of which a split has few texts, or none: their scores move by points with each text, or are a convention."""

from __future__ import annotations

from collections.abc import Sequence

from glotune.run.data import RunData
from glotune.words import named

FEWEST_TEXTS = 10
MARK = "†"
"""Beside every score that such a class enters."""
MOST_NAMED = 8


def class_texts(run: RunData, split: str, language: str) -> dict[str, int]:
    """Label -> its texts in one language; empty where the run does not tell."""
    evaluation = run.evaluations.get(split, {}).get(language)
    if evaluation is not None and not evaluation.confusion:
        return {label: int(each["support"]) for label, each in evaluation.per_class.items() if "support" in each}
    if evaluation is None or len(evaluation.confusion) != len(run.manifest.labels):
        return {}
    return {label: sum(row) for label, row in zip(run.manifest.labels, evaluation.confusion, strict=True)}


def is_thin(run: RunData, split: str, language: str) -> bool:
    """Whether a class has fewer than `FEWEST_TEXTS` there."""
    return any(count < FEWEST_TEXTS for count in class_texts(run, split, language).values())


def absent_classes(run: RunData, split: str, languages: Sequence[str]) -> dict[str, list[str]]:
    """Language -> the labels that no text has there."""
    found = {
        language: [label for label, count in class_texts(run, split, language).items() if not count]
        for language in languages
    }
    return {language: labels for language, labels in found.items() if labels}


def about_thin_classes(run: RunData, split: str, languages: Sequence[str]) -> list[str]:
    """A sentence on the classes with few texts, and one on those without any."""
    few = [
        f"{label} in {named(language)} ({count})"
        for language in languages
        for label, count in class_texts(run, split, language).items()
        if 0 < count < FEWEST_TEXTS
    ]
    told = []
    if few:
        told.append(
            f"{MARK} Fewer than {FEWEST_TEXTS} {split} texts: {_listed(few)}. Scores of these classes, and macro "
            "scores that they enter, move by points with a single text."
        )
    absent = absent_classes(run, split, languages)
    if absent:
        listed = [f"{', '.join(labels)} in {named(language)}" for language, labels in absent.items()]
        told.append(
            f"{MARK} No {split} text at all: {_listed(listed)}. An absent class counts as F1 0 in macro scores, as in "
            "scikit-learn, so they don't compare with macro scores where it is present."
        )
    return told


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items[:MOST_NAMED]) + (f" and {len(items) - MOST_NAMED} more" if len(items) > MOST_NAMED else "")
