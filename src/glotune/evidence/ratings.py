"""What may be believed about scores: does every text get the same one, and do they go with the truth?

Skill is Pearson's correlation, mean over scores and languages; a model that says the mean of the training texts has
none. It is shown where the same answers, shuffled among the texts, seldom correlate as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from glotune.evidence.collapse import LEAST_OTHERS, deciding_languages
from glotune.evidence.skill import LEVEL, Unskilled, independent, level_of, shown
from glotune.stats.confusion import FloatArray
from glotune.stats.ratings import Ratings

SHUFFLES = 2_499
ALIKE = 0.02
"""Answers that spread less than this share of the truth's spread are one answer."""


def collapsed_languages(answered: Mapping[str, Ratings], sources: Sequence[str]) -> list[str]:
    """The languages by which a run is judged, where all of them get one score throughout; none otherwise."""
    deciding = deciding_languages(answered, sources)
    alike = [all(_is_one_answer(answered[name], place) for place in answered[name].known_scores) for name in deciding]
    return deciding if deciding and all(alike) else []


def _is_one_answer(found: Ratings, place: int) -> bool:
    known = found.is_known_BL[:, place]
    truth, said = found.truth_BL[known, place], found.answer_BL[known, place]
    return len(truth) > LEAST_OTHERS and float(said.std()) < ALIKE * float(truth.std())


def collapse_alarm(answered: Mapping[str, Ratings], sources: Sequence[str]) -> str | None:
    """The alarm while training: every text gets the same score, which is no better than the mean; None otherwise."""
    where = collapsed_languages(answered, sources)
    losses = [loss_B for name in where if (loss_B := answered[name].loss_B) is not None]
    if not losses or min(float(each.mean()) for each in losses) < 0.9:
        return None
    return (
        f"every validation text in {', '.join(where)} gets the same score (validation loss "
        f"{np.mean([each.mean() for each in losses]):.4f}; the mean gives 1). Lower optimizer.learning_rate or raise "
        "schedule.warmup_ratio"
    )


def no_skill(answered: Mapping[str, Ratings], evaluations: int = 1) -> Unskilled | None:
    """That no skill is shown; None where it is. See `glotune.evidence.skill.no_skill`."""
    found, level = skill_of(answered), level_of(evaluations, SHUFFLES)
    if found is None or found[1] <= level:
        return None
    best = f", the best of {evaluations} evaluations" if evaluations > 1 else ""
    texts = sum(each.num_texts for each in answered.values())
    right = skill_of({name: replace(each, answer_BL=np.nan_to_num(each.truth_BL)) for name, each in answered.items()})
    return Unskilled(
        f"{', '.join(answered)}: not shown to be better than saying the mean on {texts} texts{best}: Pearson's r "
        f"{found[0]:.3f}, and the same answers shuffled among the texts do as well in {shown(found[1])} of cases.",
        too_few=right is not None and right[1] > level,
    )


def at_chance(found: Ratings) -> bool:
    """Whether one language shows no skill by itself."""
    skill = skill_of({"": found})
    return skill is not None and skill[1] > LEVEL


def skill_of(answered: Mapping[str, Ratings]) -> tuple[float, float] | None:
    """Mean correlation, and how often shuffled answers do as well; None where the truth is one number throughout.

    The texts are `independent`.
    """
    rng = np.random.default_rng(0)
    found, shuffled_R, parts = 0.0, np.zeros(SHUFFLES), 0
    for language, kept in independent(answered).items():
        each = answered[language]
        for place in each.known_scores:
            rows = kept[each.is_known_BL[kept, place]]
            truth, said = _standard(each.truth_BL[rows, place]), _standard(each.answer_BL[rows, place])
            if truth is None:
                continue
            parts += 1
            if said is not None:
                found += float(truth @ said) / len(rows)
                shuffled_R += [float(truth @ rng.permutation(said)) / len(rows) for _ in range(SHUFFLES)]
    if not parts:
        return None
    as_good = int(np.count_nonzero(shuffled_R >= found - 1e-12))
    return found / parts, (1 + as_good) / (1 + SHUFFLES)


def _standard(values_N: FloatArray) -> FloatArray | None:
    spread = float(values_N.std()) if len(values_N) > 1 else 0.0
    return None if spread == 0 else (values_N - values_N.mean()) / spread
