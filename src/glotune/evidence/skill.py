"""Is a run shown to be better than chance? A falling training loss is no sign of it: a network learns random labels by
heart (Zhang et al. 2017, "Understanding deep learning requires rethinking generalization").

Skill is Matthews' correlation, which is 0 for answers that don't depend on the text, whatever the label frequencies.
It is shown where the same answers, shuffled among the texts, seldom do as well: Fisher's exact test for two classes,
its randomised form for more. Shuffling keeps both margins, so the test errs as often as it says also where a class is
rare, where a bootstrap interval of the correlation ends at 0 for want of that class in some resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glotune.stats.arrays import Answered, Outcomes
from glotune.stats.confusion import IntArray, count_metric

LEVEL = 0.025
"""One-sided, as the lower end of a 95 % interval."""
SHUFFLES = 9_999


@dataclass(frozen=True)
class Skill:
    """Of some languages together, each counting once.

    Attributes:
        languages: those with texts of two classes or more: among one there is nothing to know.
        n: texts.
        mcc: mean over the languages.
        p_value: how often shuffled answers do as well.
    """

    languages: tuple[str, ...]
    n: int
    mcc: float
    p_value: float


@dataclass(frozen=True)
class Unskilled:
    """That no skill is shown.

    Attributes:
        sentence: says so, with its figures.
        too_few: whether right answers throughout would not have shown any either.
    """

    sentence: str
    too_few: bool


def level_of(evaluations: int, shuffles: int = SHUFFLES) -> float:
    """The largest p-value that shows skill.

    Args:
        evaluations: how many weights were tried on these very texts before the best were kept. The best of many
            guessers looks better than guessing, so each may err with that part of the level (Bonferroni).
        shuffles: no p-value of so many lies below twice their step.
    """
    return max(LEVEL / max(1, evaluations), 2 / (1 + shuffles))


def independent(answered: Mapping[str, Answered]) -> dict[str, IntArray]:
    """Language -> places of texts of which none belongs to another: one of each cluster, in one of its languages.

    Four copies of a text are one piece of evidence, and so are its translations: shuffled one by one, they would make
    any answer look learned. The languages of a cluster take turns, so that each keeps its share of a parallel test set.

    Args:
        answered: their clusters numbered alike.
    """
    found = {name: np.arange(each.num_texts) for name, each in answered.items()}
    clustered = {name: each.cluster_B for name, each in answered.items() if each.cluster_B is not None}
    if not clustered:
        return found
    firsts = {name: np.unique(cluster_B, return_index=True) for name, cluster_B in clustered.items()}
    holders_G = np.bincount(np.concatenate([numbers for numbers, _ in firsts.values()]))
    seen_G = np.zeros_like(holders_G)
    for name, (numbers, places) in firsts.items():
        found[name] = np.sort(places[numbers % holders_G[numbers] == seen_G[numbers]])
        seen_G[numbers] += 1
    return found


def confusions(answered: Mapping[str, Outcomes]) -> dict[str, IntArray]:
    """Language -> its confusion matrix [C, C], of the texts that are `independent`."""
    found = {}
    for language, kept in independent(answered).items():
        each = answered[language]
        counts_CC = np.zeros((each.num_labels, each.num_labels), dtype=np.int64)
        np.add.at(counts_CC, (each.label_B[kept], each.prediction_B[kept]), 1)
        found[language] = counts_CC
    return found


def skill_of(confusions: Mapping[str, IntArray]) -> Skill | None:
    """The skill that these confusion matrices ([C, C], rows the truth) show; None where there is nothing to know."""
    from scipy.stats import random_table

    known = {name: counts_CC for name, counts_CC in confusions.items() if np.count_nonzero(counts_CC.sum(axis=1)) > 1}
    if not known:
        return None
    mcc, rng = count_metric("mcc"), np.random.default_rng(0)
    found, shuffled_R = 0.0, np.zeros(SHUFFLES)
    for counts_CC in known.values():
        found += float(mcc(counts_CC.astype(np.float64)))
        if np.count_nonzero(counts_CC.sum(axis=0)) > 1:  # otherwise shuffling changes nothing: always 0
            tables_RCC = random_table(counts_CC.sum(axis=1), counts_CC.sum(axis=0)).rvs(SHUFFLES, random_state=rng)
            shuffled_R += mcc(np.asarray(tables_RCC, dtype=np.float64))
    as_good = int(np.count_nonzero(shuffled_R >= found - 1e-12))
    return Skill(
        languages=tuple(known),
        n=sum(int(each.sum()) for each in known.values()),
        mcc=found / len(known),
        p_value=(1 + as_good) / (1 + SHUFFLES),
    )


def at_chance(confusions: Mapping[str, IntArray]) -> bool:
    """Whether there is something to know and no skill is shown."""
    found = skill_of(confusions)
    return found is not None and found.p_value > LEVEL


def no_skill(answered: Mapping[str, Outcomes], evaluations: int = 1) -> Unskilled | None:
    """That no skill is shown in the languages by which a run is judged; None where it is.

    Args:
        answered: in these languages.
        evaluations: as for `level_of`.
    """
    counted, level = confusions(answered), level_of(evaluations)
    found = skill_of(counted)
    if found is None or found.p_value <= level:
        return None
    best = f", the best of {evaluations} evaluations" if evaluations > 1 else ""
    right = skill_of({name: np.diag(counts_CC.sum(axis=1)) for name, counts_CC in counted.items()})
    return Unskilled(
        f"{', '.join(found.languages)}: not shown to be better than chance on {found.n} texts{best}: MCC "
        f"{found.mcc:.3f}, and the same answers shuffled among the texts do as well in {shown(found.p_value)} of "
        "cases.",
        too_few=right is not None and right.p_value > level,
    )


def not_shown(names: Sequence[str]) -> str:
    """The sentence about languages of which that is so one by one."""
    return f"Not shown to be better than chance (shuffled answers do as well too often): {', '.join(names)}."


def shown(p_value: float) -> str:
    """``100 %``, ``12 %``, ``3.1 %``, ``0.04 %``."""
    return f"{100 * p_value:.0f} %" if p_value >= 0.1 else f"{100 * p_value:.2g} %"
