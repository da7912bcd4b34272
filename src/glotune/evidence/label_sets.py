"""What may be believed about answers of several labels for each text: are they alike throughout, is there skill?

The signs are those of one class (`glotune.evidence.collapse`, `glotune.evidence.skill`), asked of every label: a label
that is never answered, or always, shows nothing; a run is collapsed where that is so of all its labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from glotune.evidence.collapse import LEAST_OTHERS, NO_GAIN, RANKS, deciding_languages
from glotune.evidence.skill import LEVEL, Unskilled, independent, level_of, shown
from glotune.stats.confusion import FloatArray, ratio
from glotune.stats.label_sets import LabelSets

SHUFFLES = 2_499
LEAST_PROBABILITY = 1e-12
MOST_NAMED = 6


@dataclass(frozen=True)
class Unanswered:
    """A label that is never answered in one language, though enough texts have it to show a model that knows it."""

    label: int
    language: str
    texts: int
    """That have it."""
    annotated: int


def constant_labels(sets: LabelSets) -> tuple[bool, bool]:
    """Whether each label is answered alike for all texts, and whether that proves something.

    It does where enough texts would have needed the other answer of one of them.
    """
    alike, proved = True, False
    for label in np.flatnonzero(sets.is_known_L).tolist():
        found, false, missed, left = sets.counts_L4[label]
        if found + false == 0:
            proved = proved or missed >= LEAST_OTHERS
        elif missed + left == 0:
            proved = proved or false >= LEAST_OTHERS
        else:
            alike = False
    return alike, proved


def collapsed_languages(answered: Mapping[str, LabelSets], sources: Sequence[str]) -> list[str]:
    """The languages by which a run is judged, where all of them are answered alike throughout; none otherwise."""
    deciding = deciding_languages(answered, sources)
    found = [constant_labels(answered[name]) for name in deciding]
    return deciding if found and all(alike for alike, _ in found) and any(proved for _, proved in found) else []


def never_answered(answered: Mapping[str, LabelSets]) -> list[Unanswered]:
    """The labels that no text of a language is given, where some of its texts have them."""
    found = []
    for language, sets in answered.items():
        for label in np.flatnonzero(sets.is_known_L).tolist():
            right, false, missed, _ = sets.counts_L4[label]
            if right + false == 0 and missed >= LEAST_OTHERS:
                found.append(Unanswered(label, language, int(missed), int(sets.counts_L4[label].sum())))
    return found


def about_never_answered(found: Sequence[Unanswered], labels: Sequence[str]) -> list[str]:
    """One sentence for each such label."""
    sentences = []
    for label in dict.fromkeys(each.label for each in found):
        where = [each for each in found if each.label == label]
        named = ", ".join(
            f"{each.language} ({each.texts} of {each.annotated} texts have it)" for each in where[:MOST_NAMED]
        )
        more = f" and {len(where) - MOST_NAMED} more" if len(where) > MOST_NAMED else ""
        sentences.append(f"The label '{labels[label]}' is never predicted in {named}{more}.")
    return sentences


def frequency_loss(sets: LabelSets) -> float:
    """Loss in nats of knowing only how frequent each label is."""
    true_BL, known_BL = sets.label_BL == 1, sets.is_known_BL
    share_L = ratio((true_BL & known_BL).sum(axis=0), known_BL.sum(axis=0))
    share_L = np.clip(share_L, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    loss_BL = np.where(true_BL, -np.log(share_L), -np.log1p(-share_L)) * known_BL
    return float((loss_BL.sum(axis=1) / known_BL.sum(axis=1)).mean())


def has_learned(sets: LabelSets) -> bool:
    """Whether the probabilities behind the answers know something, even where every text is answered alike."""
    if sets.loss_B is not None and float(sets.loss_B.mean()) < NO_GAIN * frequency_loss(sets):
        return True
    area = sets.values()["roc_auc"]
    counts_L = sets.counts_L4[sets.is_known_L][:, [0, 2]].sum(axis=1)
    rarest = max(1.0, float(counts_L[counts_L > 0].min())) if (counts_L > 0).any() else 1.0
    return area is not None and area > max(RANKS, 0.5 + 1.0 / np.sqrt(3.0 * rarest))


def collapse_alarm(answered: Mapping[str, LabelSets], sources: Sequence[str]) -> str | None:
    """The alarm while training: every label is answered alike and nothing was learned; None otherwise."""
    where = collapsed_languages(answered, sources)
    if not where or any(has_learned(answered[name]) for name in where):
        return None
    losses = [answered[name].loss_B for name in where]
    loss = float(np.mean([each.mean() for each in losses if each is not None]))
    known = float(np.mean([frequency_loss(answered[name]) for name in where]))
    return (
        f"every label is answered alike for all validation texts in {', '.join(where)} (validation loss {loss:.4f}; "
        f"knowing only how frequent each label is gives {known:.4f}, guessing ln 2 = 0.6931). Lower "
        "optimizer.learning_rate or raise schedule.warmup_ratio"
    )


@dataclass(frozen=True)
class SetSkill:
    """The mean of Matthews' correlation over labels and languages, and how often shuffled answers do as well."""

    languages: tuple[str, ...]
    n: int
    mcc: float
    p_value: float


def skill_of_sets(answered: Mapping[str, LabelSets]) -> SetSkill | None:
    """The skill that these answers show; None where no label applies to some texts and not to others.

    A text's answers are shuffled together, so that labels that go together do so in every shuffle; the texts are
    `independent`.
    """
    rng = np.random.default_rng(0)
    found, shuffled_R, parts, texts = 0.0, np.zeros(SHUFFLES), [], 0
    for language, kept in independent(answered).items():
        sets = answered[language]
        true_BL = (sets.label_BL[kept] == 1).astype(np.float64)
        known_BL = sets.is_known_BL[kept].astype(np.float64)
        yes_BL = sets.answer_BL[kept].astype(np.float64)
        both_L = (true_BL.sum(axis=0) > 0) & (true_BL.sum(axis=0) < known_BL.sum(axis=0))
        if not both_L.any():
            continue
        true_BL, known_BL, yes_BL = true_BL[:, both_L], known_BL[:, both_L], yes_BL[:, both_L]
        found += _mean_mcc(true_BL, known_BL, yes_BL)
        shuffled_R += [_mean_mcc(true_BL, known_BL, yes_BL[rng.permutation(len(yes_BL))]) for _ in range(SHUFFLES)]
        parts.append(language)
        texts += len(true_BL)
    if not parts:
        return None
    as_good = int(np.count_nonzero(shuffled_R >= found - 1e-12))
    return SetSkill(tuple(parts), texts, found / len(parts), (1 + as_good) / (1 + SHUFFLES))


def _mean_mcc(true_BL: FloatArray, known_BL: FloatArray, yes_BL: FloatArray) -> float:
    n_L, true_L = known_BL.sum(axis=0), true_BL.sum(axis=0)
    yes_L, both_L = (known_BL * yes_BL).sum(axis=0), (true_BL * yes_BL).sum(axis=0)
    spread_L = true_L * (n_L - true_L) * yes_L * (n_L - yes_L)
    return float(ratio(n_L * both_L - true_L * yes_L, np.sqrt(spread_L)).mean())


def no_skill(answered: Mapping[str, LabelSets], evaluations: int = 1) -> Unskilled | None:
    """That no skill is shown; None where it is. See `glotune.evidence.skill.no_skill`."""
    found, level = skill_of_sets(answered), level_of(evaluations, SHUFFLES)
    if found is None or found.p_value <= level:
        return None
    best = f", the best of {evaluations} evaluations" if evaluations > 1 else ""
    right = skill_of_sets({name: replace(each, answer_BL=each.label_BL == 1) for name, each in answered.items()})
    return Unskilled(
        f"{', '.join(found.languages)}: not shown to be better than chance on {found.n} texts{best}: mean MCC of the "
        f"labels {found.mcc:.3f}, and the same answers shuffled among the texts do as well in {shown(found.p_value)} "
        "of cases.",
        too_few=right is not None and right.p_value > level,
    )


def at_chance(sets: LabelSets) -> bool:
    """Whether one language shows no skill by itself."""
    found = skill_of_sets({"": sets})
    return found is not None and found.p_value > LEVEL
