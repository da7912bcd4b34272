"""Which of a model's own answers are learned from: the texts of a round of self-training, and when to stop."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Select = Literal["confidence", "uncertainty", "balanced"]
ONE_CLASS = 0.95
"""Pseudo-labels of which at least this share are one class teach little but that class."""
MOST_SCALINGS, CLOSE, LEAST = 1000, 1e-6, 1e-30
"""Of answers, until their mean is so close to what it shall be; smaller sums count as this."""


def choose(
    probabilities_UC: NDArray[np.float32], languages_U: NDArray[np.int16], select: Select, share: float
) -> NDArray[np.int64]:
    """The rows of the texts to learn from, ascending: of each language at least one, and `share` of them.

    ``balanced`` takes as many of each class, a class with fewer answers all of them: it may take fewer in all. Equal
    ones are taken in the order of the texts.
    """
    order = np.argsort(-_trust(probabilities_UC, select), kind="stable")
    answers_U = probabilities_UC.argmax(axis=1)
    chosen = []
    for language in np.unique(languages_U):
        own = order[languages_U[order] == language]
        wanted = math.ceil(share * len(own))
        if select == "balanced":
            each = math.ceil(wanted / probabilities_UC.shape[1])
            chosen += [own[answers_U[own] == label][:each] for label in range(probabilities_UC.shape[1])]
        else:
            chosen.append(own[:wanted])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def aligned(
    probabilities_UC: NDArray[np.float32], languages_U: NDArray[np.int16], shares_C: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The answers shifted, each language's by itself, until their mean is `shares_C`: distribution alignment.

    Berthelot et al. 2020 (ReMixMatch, arXiv:1911.09785, section 3.1) scale each answer by the wanted share of a class
    over its mean, once; here that is repeated until it holds, so that a class of a language is neither named too often
    nor too rarely. It is right where classes are about as frequent in these texts as `shares_C` says. A class without a
    share gets none.
    """
    moved_UC = probabilities_UC.astype(np.float64)
    for language in np.unique(languages_U):
        rows = languages_U == language
        moved_UC[rows] = _scaled(moved_UC[rows], shares_C)
    return moved_UC.astype(np.float32)


def _scaled(answers_NC: NDArray[np.float64], shares_C: NDArray[np.float64]) -> NDArray[np.float64]:
    for _ in range(MOST_SCALINGS):
        means_C = answers_NC.mean(axis=0)
        if np.abs(means_C - shares_C).max() < CLOSE:
            break
        answers_NC = answers_NC * (shares_C / np.maximum(means_C, LEAST))
        answers_NC = answers_NC / np.maximum(answers_NC.sum(axis=1, keepdims=True), LEAST)
    return answers_NC


def _trust(probabilities_UC: NDArray[np.float32], select: Select) -> NDArray[np.float64]:
    """[U], higher is better: the probability of the answer, or minus the entropy in nats."""
    known = probabilities_UC.astype(np.float64)
    if select != "uncertainty":
        return np.asarray(known.max(axis=1))
    return np.asarray((known * np.log(np.where(known > 0, known, 1.0))).sum(axis=1))


def is_one_class(counts_C: NDArray[np.int64], labelled_C: NDArray[np.int64]) -> bool:
    """Whether pseudo-labels have collapsed: nearly all are one class, and the others have less than half of the share
    that they have among the labelled texts, of which one class may be most by nature."""
    others, usual = (1.0 - counts.max() / max(counts.sum(), 1) for counts in (counts_C, labelled_C))
    return bool(others <= 1.0 - ONE_CLASS and others < usual / 2)
