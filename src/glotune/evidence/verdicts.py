"""The verdict on a run: what may be believed about it, on what evidence, and what to do.

In this order: *diverged* (a number is not finite), *collapsed* (one class is answered, see
`glotune.evidence.collapse`), *no skill* (not shown to be better than chance, see `glotune.evidence.skill`),
*overfit* (past its best, see `glotune.evidence.trend`), *improving* (still getting better when it ended, or hardly
begun, see `glotune.evidence.beginning`), *sound*. The first three make every comparison void.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from glotune.evidence import advice
from glotune.evidence.beginning import hardly_begun, learned_by_heart, not_learned
from glotune.evidence.collapse import (
    RANKS,
    Collapse,
    deciding_languages,
    find_collapses,
    frequency_loss,
    has_learned,
    prior_entropy,
    run_collapses,
)
from glotune.evidence.skill import at_chance, confusions, no_skill, not_shown
from glotune.evidence.trend import TrainingHistory, not_finite, past_its_best, still_improving
from glotune.recipe.schema import Recipe
from glotune.run.records import Verdict
from glotune.stats.arrays import Outcomes
from glotune.stats.scores import Scores, score_outcomes


def judge(
    history: TrainingHistory,
    outcomes_by_language: Mapping[str, Outcomes],
    labels: Sequence[str],
    *,
    source_languages: Sequence[str] = (),
    chosen_on: Collection[str] = (),
    recipe: Recipe = advice.DEFAULTS,
) -> Verdict:
    """Judge a run by its course and its predictions.

    Args:
        history: losses and evaluations in order; may be empty.
        outcomes_by_language: predictions of one split, best the test split, per language.
        labels: label names in the order of the class ids.
        source_languages: the run is collapsed if these are; without texts in any, if all languages are.
            Another language that is answered with one class is named in the evidence.
        chosen_on: languages whose predictions are of the very texts that chose the checkpoint.
        recipe: what it was trained by; the remedies say nothing that stands there already.
    """
    bad = not_finite(history) or _not_finite_predictions(outcomes_by_language)
    if bad is not None:
        return Verdict(status="diverged", evidence=[bad], remedy=advice.on_divergence(recipe))
    scores = {language: score_outcomes(each) for language, each in outcomes_by_language.items()}
    collapses = find_collapses(scores)
    proof = run_collapses(scores, source_languages)
    begun = hardly_begun(history, len(labels))
    if proof:
        evidence = [sentence for each in proof for sentence in collapse_evidence(each, labels)]
        evidence += [] if begun is None else [begun]
        remedy = advice.on_collapse(
            recipe, len(labels), still_ranks=_still_ranks(proof), hardly_begun=begun is not None
        )
        return Verdict(status="collapsed", evidence=evidence, remedy=remedy)
    deciding = {name: scores[name] for name in deciding_languages(scores, source_languages)}
    looks = len(history.epochs) if set(deciding) & set(chosen_on) else 1
    unskilled = no_skill({name: outcomes_by_language[name] for name in deciding}, looks)
    if unskilled is not None:
        return _without_skill(unskilled, history, deciding, len(labels), recipe)
    asides = [sentence for each in collapses.values() for sentence in collapse_evidence(each, labels)]
    chance = _no_better_than_chance(outcomes_by_language, collapses)
    if chance:
        asides.append(not_shown(chance))
    if (early := advice.stopped_early(history, recipe)) is not None:
        asides.insert(0, early)
    languages = [advice.LANGUAGES] if collapses else []
    overfit = past_its_best(history)
    if overfit is not None:
        return Verdict(
            status="overfit", evidence=[overfit, *asides], remedy=[*advice.on_overfitting(recipe), *languages]
        )
    if begun is not None:
        return Verdict(status="improving", evidence=[begun, *asides], remedy=[*advice.on_few_steps(recipe), *languages])
    guessing = not_learned(history, len(labels))
    if guessing is not None:
        return Verdict(
            status="improving", evidence=[guessing, *asides], remedy=[*advice.on_nothing_learned(recipe), *languages]
        )
    improving = still_improving(history)
    if improving is not None:
        return Verdict(
            status="improving", evidence=[improving, *asides], remedy=[*advice.on_improvement(recipe), *languages]
        )
    return Verdict(status="sound", evidence=[*_sound_evidence(history, scores), *asides], remedy=languages)


def _without_skill(
    unskilled: str, history: TrainingHistory, deciding: Mapping[str, Scores], num_labels: int, recipe: Recipe
) -> Verdict:
    """Whether it has hardly begun, learned nothing, or learned its training texts alone: each has its own remedy."""
    begun = hardly_begun(history, num_labels)
    order = all(has_learned(each) for each in deciding.values())
    guessing = None if order else not_learned(history, num_labels, chance_loss=frequency_loss(deciding.values()))
    evidence = [unskilled, *(each for each in (begun, guessing) if each is not None)]
    if order:
        evidence.append("The probabilities know something of the labels all the same, the answers don't.")
    if begun is not None:
        remedy = advice.on_few_steps(recipe)
    elif guessing is not None:
        remedy = advice.on_nothing_learned(recipe)
    else:
        if history.step_losses:
            evidence.append(learned_by_heart(history))
        remedy = advice.on_no_skill(recipe, num_labels, still_ranks=order)
    return Verdict(status="no skill", evidence=evidence, remedy=[*remedy, advice.NO_COMPARISON])


def collapse_evidence(collapse: Collapse, labels: Sequence[str]) -> list[str]:
    """Sentences with the figures of a collapse."""
    where, name = ", ".join(collapse.where), labels[collapse.label]
    answered = (
        f"all {collapse.n} texts are" if collapse.predicted_share == 1.0
        else f"{collapse.predicted_share:.1%} of {collapse.n} texts are"
    )  # fmt: skip
    sentences = [f"{where}: {answered} called '{name}', which is right for {collapse.true_share:.1%} of them."]
    scores = collapse.scores
    if scores is None:
        return sentences
    one_class = "the scores of answering one class" if collapse.predicted_share == 1.0 else "those of no skill"
    sentences.append(
        f"{where}: accuracy {scores.accuracy:.4f}, macro-F1 {scores.macro_f1:.4f} and weighted-F1 "
        f"{scores.weighted_f1:.4f} are {one_class}."
    )
    if scores.loss is not None:
        known = prior_entropy([each.support for each in scores.per_class])
        sentences.append(
            f"{where}: loss {scores.loss:.4f}, against ln {len(labels)} = {math.log(len(labels)):.4f} for guessing "
            f"and {known:.4f} for knowing only how frequent each label is."
        )
    if scores.roc_auc is not None:
        ranks = "still order the texts" if scores.roc_auc > RANKS else "don't order the texts either"
        sentences.append(f"{where}: the probabilities {ranks} (ROC AUC {scores.roc_auc:.3f}).")
    return sentences


def _not_finite_predictions(outcomes_by_language: Mapping[str, Outcomes]) -> str | None:
    bad = [language for language, each in outcomes_by_language.items() if not each.is_finite]
    return f"Predictions are not finite in: {', '.join(bad)}." if bad else None


def _no_better_than_chance(answered: Mapping[str, Outcomes], collapses: Mapping[str, Collapse]) -> list[str]:
    """The languages of which that is so one by one."""
    known = confusions(answered)
    return [name for name in answered if name not in collapses and at_chance({name: known[name]})]


def _sound_evidence(history: TrainingHistory, scores: Mapping[str, Scores]) -> list[str]:
    evidence = []
    if history.step_losses or history.epochs:
        refused = history.refused_steps
        evidence.append(
            "All losses are finite."
            if not refused
            else f"{refused} of {refused + len(history.step_losses)} "
            "steps were not finite and made no update; the others are."
        )
    if scores:
        evidence.append(
            f"More than one class is answered in {', '.join(scores)}."
            if len(scores) <= 5
            else f"More than one class is answered over {len(scores)} languages."
        )
    measured = [(point.metric, point.epoch) for point in history.epochs if point.metric is not None]
    if measured:
        best, epoch = max(measured, key=lambda each: each[0])  # the first of equals, as the checkpoint that is kept
        evidence.append(
            f"The best {history.metric} while training was {best:.4f}, at epoch {epoch:g} of {measured[-1][1]:g}."
        )
    return evidence


def _still_ranks(proof: Sequence[Collapse]) -> bool:
    """Whether the probabilities order the texts wherever the answer is always the same."""
    aucs = [each.scores.roc_auc for each in proof if each.scores is not None and each.scores.roc_auc is not None]
    return bool(aucs) and min(aucs) > RANKS
