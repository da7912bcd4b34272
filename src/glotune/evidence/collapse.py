"""Has a model given up and answers one class?

XLM-R falls into this with too high a rate or no warmup. Its accuracy then is the share p of
the class it answers, its macro-F1 2 p / (1 + p) / C and its weighted-F1 2 p^2 / (1 + p): figures
that look like a weak model's, and with which every comparison is one with nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glotune.stats.confusion import IntArray
from glotune.stats.count_bootstrap import resample_counts
from glotune.stats.scores import Scores

TOLERANCE = 1e-4
"""How far a published, rounded F1 may lie from the one-class score."""
ROUNDING = 5e-5
"""A share read from a published accuracy is known to half of its fourth digit."""

WEAKEST_RECALL, DOUBT = 0.2, 0.05
"""Answering one class proves a collapse only where a working model would have shown itself: one that
knows just one in five texts of the other classes misses m of them with a chance of 0.8^m, which must
be at most 5 %: 14 texts of other classes."""
LEAST_OTHERS = math.ceil(math.log(DOUBT) / math.log(1.0 - WEAKEST_RECALL))

RANKS, CHANCE_SPREADS = 0.6, 2.0
"""A macro AUC above 0.6 says that the probabilities order the texts, where it also lies two standard errors above
the 0.5 of chance."""

NEARLY_ONE = 0.95
NO_SKILL = 0.1
NO_GAIN = 0.98
"""A model that answers one class for 95 % or more, not all, is collapsed only if three signs agree: the
upper end of its MCC is below 0.1, at least 14 texts are of other classes, and its loss is no better than
98 % of that of stating the label frequencies. A weak model with any skill fails one of them."""


@dataclass(frozen=True)
class OneClassScores:
    """What answering one class always scores."""

    accuracy: float
    macro_f1: float
    weighted_f1: float


@dataclass(frozen=True)
class PublishedCollapse:
    """Published figures explained by one class: its share, and which F1 each figure is."""

    share: float
    f1_averages: tuple[str, ...]


@dataclass(frozen=True)
class Collapse:
    """One language, or several together, answered with (almost) one class.

    Attributes:
        where: language codes.
        label: the class id that is answered.
        predicted_share: how often it is answered.
        scores: of these texts; None for several languages together.
        n: texts.
        true_share: how often it is right.
    """

    where: tuple[str, ...]
    label: int
    predicted_share: float
    true_share: float
    n: int
    scores: Scores | None


def one_class_scores(share: float, num_labels: int) -> OneClassScores:
    """Scores of always answering a class with this share of the texts, among `num_labels` classes."""
    f1 = 2.0 * share / (1.0 + share)
    return OneClassScores(accuracy=share, macro_f1=f1 / num_labels, weighted_f1=share * f1)


def collapsed_from_published(
    accuracy: float, f1s: Sequence[float], num_labels: int, class_shares: Sequence[float] | None = None
) -> PublishedCollapse | None:
    """Recognise a collapse from rounded figures alone; None where they need more than one class.

    Args:
        accuracy: as published, 0 .. 1.
        f1s: every F1 given for the same predictions, of whatever average; each must be explained.
        num_labels: C.
        class_shares: shares of the classes in the test set if known; else the accuracy is taken for one.
    """
    if class_shares is None:
        shares = [accuracy, accuracy - ROUNDING, accuracy + ROUNDING]
    else:
        shares = [share for share in class_shares if abs(share - accuracy) <= TOLERANCE]
    for share in shares:
        expected = one_class_scores(share, num_labels)
        averages = {"macro": expected.macro_f1, "weighted": expected.weighted_f1}
        if num_labels == 2:  # where the answered class is the positive one
            averages["positive class"] = 2.0 * share / (1.0 + share)
        found = [
            min(averages, key=lambda name: abs(averages[name] - f1))
            for f1 in f1s
            if any(abs(value - f1) <= TOLERANCE for value in averages.values())
        ]
        if f1s and len(found) == len(f1s):
            return PublishedCollapse(share, tuple(found))
    return None


def find_collapses(scores_by_language: Mapping[str, Scores]) -> dict[str, Collapse]:
    """Language -> its collapse, for each language whose texts prove one by themselves."""
    found = {}
    for language, scores in scores_by_language.items():
        counts_CC = np.asarray(scores.confusion_CC, dtype=np.int64)
        if _answers_one_class(counts_CC) or _nearly_answers_one_class(counts_CC, scores):
            found[language] = _collapse((language,), counts_CC, scores)
    return found


def find_pooled_collapse(scores_by_language: Mapping[str, Scores]) -> Collapse | None:
    """One class for all texts of all languages together; for languages too small to prove it alone."""
    if not scores_by_language:
        return None
    counts_CC = np.sum([np.asarray(each.confusion_CC) for each in scores_by_language.values()], axis=0)
    if not _answers_one_class(counts_CC):
        return None
    return _collapse(tuple(scores_by_language), counts_CC, None)


def deciding_languages(scored: Iterable[str], source_languages: Sequence[str]) -> list[str]:
    """The languages by which a run is judged: those it was trained on; without texts in any, all that are scored."""
    known = list(scored)
    return [language for language in source_languages if language in known] or known


def run_collapses(scores_by_language: Mapping[str, Scores], source_languages: Sequence[str]) -> list[Collapse]:
    """The collapses that condemn a run: one for each deciding language, or one of all their texts; empty otherwise."""
    deciding = {name: scores_by_language[name] for name in deciding_languages(scores_by_language, source_languages)}
    collapses = find_collapses(deciding)
    if len(collapses) == len(deciding):
        return list(collapses.values())
    pooled = find_pooled_collapse(deciding)
    return [] if pooled is None else [pooled]


def has_learned(scores: Scores) -> bool:
    """Whether the probabilities behind the answers know something, even where every answer is the same class.

    On unbalanced texts nearly every training passes through such a stage: the probabilities already order the texts,
    or their loss is below that of stating the label frequencies, before any of them crosses the threshold.
    """
    support = [each.support for each in scores.per_class]
    if scores.loss is not None and scores.loss < NO_GAIN * prior_entropy(scores.frequencies):
        return True
    return scores.roc_auc is not None and scores.roc_auc > max(RANKS, 0.5 + CHANCE_SPREADS * _auc_spread(support))


def _auc_spread(support: Sequence[int]) -> float:
    """Standard error of a chance AUC of the rarest class against the rest (Mann and Whitney 1947)."""
    rare, total = min(support), sum(support)
    return math.sqrt((total + 1) / (12.0 * rare * (total - rare)))


def prior_entropy(support: Sequence[float]) -> float:
    """Loss in nats of stating the label frequencies for every text; at most ln C."""
    shares = np.asarray([count for count in support if count > 0], dtype=np.float64)
    shares /= shares.sum()
    return float(-(shares * np.log(shares)).sum())


def frequency_loss(scores: Iterable[Scores]) -> float:
    """Loss in nats of knowing only how frequent each label is, mean over languages."""
    return float(np.mean([prior_entropy(each.frequencies) for each in scores]))


def _answers_one_class(counts_CC: IntArray) -> bool:
    label = int(counts_CC.sum(axis=0).argmax())
    others = int(counts_CC.sum() - counts_CC[label].sum())
    return bool(counts_CC[:, label].sum() == counts_CC.sum()) and others >= LEAST_OTHERS


def _nearly_answers_one_class(counts_CC: IntArray, scores: Scores) -> bool:
    label = int(counts_CC.sum(axis=0).argmax())
    others = int(counts_CC.sum() - counts_CC[label].sum())
    nearly = counts_CC[:, label].sum() >= NEARLY_ONE * counts_CC.sum()
    if not nearly or others < LEAST_OTHERS or scores.loss is None:
        return False
    if counts_CC[:, label].sum() == counts_CC.sum() or scores.loss < NO_GAIN * prior_entropy(scores.frequencies):
        return False
    return resample_counts(counts_CC, ["mcc"], seed=(0,))["mcc"].interval().high < NO_SKILL


def _collapse(where: tuple[str, ...], counts_CC: IntArray, scores: Scores | None) -> Collapse:
    label, total = int(counts_CC.sum(axis=0).argmax()), int(counts_CC.sum())
    return Collapse(
        where=where,
        label=label,
        predicted_share=float(counts_CC[:, label].sum() / total),
        true_share=float(counts_CC[label].sum() / total),
        n=total,
        scores=scores,
    )
