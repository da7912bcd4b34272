"""The verdict on a run: what may be believed about it, on what evidence, and what to do.

In this order: *diverged* (a number is not finite), *collapsed* (one class is answered, see
`glotune.evidence.collapse`), *no skill* (not shown to be better than chance, see `glotune.evidence.skill`),
*overfit* (past its best, see `glotune.evidence.trend`), *improving* (still getting better when it ended, or hardly
begun, see `glotune.evidence.beginning`), *sound*. The first three make every comparison void.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from glotune.evidence import advice, label_sets, ratings
from glotune.evidence.beginning import Guessing, hardly_begun, learned_by_heart, not_learned
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
from glotune.evidence.skill import Unskilled, at_chance, confusions, no_skill, not_shown
from glotune.evidence.trend import TrainingHistory, not_finite, past_its_best, still_improving
from glotune.recipe.schema import Recipe
from glotune.run.records import Verdict
from glotune.stats.arrays import Answered, Outcomes
from glotune.stats.label_sets import LabelSets
from glotune.stats.ratings import Ratings
from glotune.stats.scores import score_outcomes


def judge(
    history: TrainingHistory,
    outcomes_by_language: Mapping[str, Answered],
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
    asked = Asked(history, labels, source_languages, chosen_on, recipe)
    classes = {name: each for name, each in outcomes_by_language.items() if isinstance(each, Outcomes)}
    sets = {name: each for name, each in outcomes_by_language.items() if isinstance(each, LabelSets)}
    numbers = {name: each for name, each in outcomes_by_language.items() if isinstance(each, Ratings)}
    if numbers:
        found = _of_ratings(asked, numbers)
    else:
        found = _of_label_sets(asked, sets) if sets else _of_classes(asked, classes)
    return found if isinstance(found, Verdict) else _by_course(asked, found)


@dataclass(frozen=True)
class Asked:
    """What a verdict is about, beside the predictions; see `judge`."""

    history: TrainingHistory
    labels: Sequence[str]
    source_languages: Sequence[str]
    chosen_on: Collection[str]
    recipe: Recipe

    def looks(self, deciding: Iterable[str]) -> int:
        """How many weights were tried on the very texts that these languages are judged by."""
        return len(self.history.epochs) if set(deciding) & set(self.chosen_on) else 1


@dataclass(frozen=True)
class Findings:
    """What predictions say that do not condemn a run."""

    guessing: Guessing
    answered: str
    """The sentence that more than one answer is given."""
    asides: list[str] = field(default_factory=list)
    remedies: list[str] = field(default_factory=list)


def _of_classes(asked: Asked, answered: Mapping[str, Outcomes]) -> Verdict | Findings:
    """Of one class for each text; a verdict where they condemn the run."""
    history, labels, recipe = asked.history, asked.labels, asked.recipe
    scores = {language: score_outcomes(each) for language, each in answered.items()}
    collapses = find_collapses(scores)
    proof = run_collapses(scores, asked.source_languages)
    # A loss that is focal counts what guesses state of the truth, 1 / C, by (1 - 1 / C)^gamma.
    focus = (1.0 - 1.0 / len(labels)) ** recipe.loss.focal_gamma
    guessing = Guessing.among(len(labels), focus)
    begun = hardly_begun(history, guessing)
    if proof:
        evidence = [sentence for each in proof for sentence in collapse_evidence(each, labels)]
        evidence += [] if begun is None else [begun]
        remedy = advice.on_collapse(
            recipe, len(labels), still_ranks=_still_ranks(proof), hardly_begun=begun is not None
        )
        return Verdict(status="collapsed", evidence=evidence, remedy=remedy)
    deciding = {name: scores[name] for name in deciding_languages(scores, asked.source_languages)}
    unskilled = no_skill({name: answered[name] for name in deciding}, asked.looks(deciding))
    if unskilled is not None:
        order = all(has_learned(each) for each in deciding.values())
        return _without_skill(asked, unskilled, guessing, focus * frequency_loss(deciding.values()), order)
    asides = [sentence for each in collapses.values() for sentence in collapse_evidence(each, labels)]
    chance = _no_better_than_chance(answered, collapses)
    if chance:
        asides.append(not_shown(chance))
    return Findings(
        guessing,
        _several(
            "More than one class is answered",
            [name for name in scores if len(np.unique(answered[name].prediction_B)) > 1],
        ),
        asides,
        [advice.LANGUAGES] if collapses else [],
    )


def _of_label_sets(asked: Asked, answered: Mapping[str, LabelSets]) -> Verdict | Findings:
    """Of several labels for each text; a verdict where they condemn the run."""
    recipe = asked.recipe
    guessing = Guessing.among(2, 0.5**recipe.loss.focal_gamma)
    begun = hardly_begun(asked.history, guessing)
    deciding = {name: answered[name] for name in deciding_languages(answered, asked.source_languages)}
    order = all(label_sets.has_learned(each) for each in deciding.values())
    unanswered = label_sets.about_never_answered(label_sets.never_answered(answered), asked.labels)
    where = label_sets.collapsed_languages(answered, asked.source_languages)
    if where:
        evidence = [f"{', '.join(where)}: every label is answered alike for all texts.", *unanswered]
        evidence += [] if begun is None else [begun]
        remedy = advice.on_collapse(recipe, None, still_ranks=order, hardly_begun=begun is not None)
        return Verdict(status="collapsed", evidence=evidence, remedy=remedy)
    unskilled = label_sets.no_skill(deciding, asked.looks(deciding))
    if unskilled is not None:
        chance = 0.5**recipe.loss.focal_gamma * sum(map(label_sets.frequency_loss, deciding.values())) / len(deciding)
        return _without_skill(asked, unskilled, guessing, chance, order)
    guessed = [name for name, each in answered.items() if name not in deciding and label_sets.at_chance(each)]
    asides = [*unanswered, *([not_shown(guessed)] if guessed else [])]
    remedies = [advice.on_unanswered_labels(recipe)] if unanswered else []
    return Findings(
        guessing,
        _several(
            "Labels are answered for some texts and not for others",
            [name for name, each in answered.items() if not label_sets.constant_labels(each)[0]],
        ),
        asides,
        remedies,
    )


def _of_ratings(asked: Asked, answered: Mapping[str, Ratings]) -> Verdict | Findings:
    """Of scores; a verdict where they condemn the run."""
    guessing = Guessing(1.0, "1 for saying the mean")
    begun = hardly_begun(asked.history, guessing)
    deciding = {name: answered[name] for name in deciding_languages(answered, asked.source_languages)}
    where = ratings.collapsed_languages(answered, asked.source_languages)
    if where:
        evidence = [f"{', '.join(where)}: every text gets the same score.", *([] if begun is None else [begun])]
        remedy = advice.on_collapse(asked.recipe, None, still_ranks=False, hardly_begun=begun is not None)
        return Verdict(status="collapsed", evidence=evidence, remedy=remedy)
    unskilled = ratings.no_skill(deciding, asked.looks(deciding))
    if unskilled is not None:
        return _without_skill(asked, unskilled, guessing, 1.0, order=False)
    guessed = [name for name, each in answered.items() if name not in deciding and ratings.at_chance(each)]
    asides = [not_shown(guessed)] if guessed else []
    return Findings(guessing, _several("Scores go with the truth", deciding), asides)


def _by_course(asked: Asked, found: Findings) -> Verdict:
    """The verdict on a run that its predictions don't condemn, by how its training went."""
    history, recipe, asides = asked.history, asked.recipe, list(found.asides)
    if (early := advice.stopped_early(history, recipe)) is not None:
        asides.insert(0, early)
    overfit = past_its_best(history)
    if overfit is not None:
        return Verdict(
            status="overfit", evidence=[overfit, *asides], remedy=[*advice.on_overfitting(recipe), *found.remedies]
        )
    begun = hardly_begun(history, found.guessing)
    for sentence, remedy in (
        (begun, advice.on_few_steps),
        (not_learned(history, found.guessing), advice.on_nothing_learned),
        (still_improving(history), advice.on_improvement),
    ):
        if sentence is not None:
            return Verdict(status="improving", evidence=[sentence, *asides], remedy=[*remedy(recipe), *found.remedies])
    return Verdict(status="sound", evidence=[*_sound_evidence(history, found.answered), *asides], remedy=found.remedies)


def _without_skill(asked: Asked, unskilled: Unskilled, guessing: Guessing, chance_loss: float, order: bool) -> Verdict:
    """Whether too few texts judge it, it has hardly begun, learned nothing, or learned its training texts alone: each
    has its own remedy.

    Args:
        chance_loss: of knowing only how frequent each answer is.
        order: whether the probabilities know something all the same.
    """
    history, recipe = asked.history, asked.recipe
    begun = hardly_begun(history, guessing)
    guessed = None if order else not_learned(history, guessing, chance_loss=chance_loss)
    evidence = [unskilled.sentence, *(each for each in (begun, guessed) if each is not None)]
    if order and not unskilled.too_few:
        evidence.append("The probabilities know something of the labels all the same, the answers don't.")
    if unskilled.too_few:
        evidence.insert(1, "Right answers to all of them would not show it either: there are too few.")
        remedy = advice.on_few_judged(recipe)
    elif begun is not None:
        remedy = advice.on_few_steps(recipe)
    elif guessed is not None:
        remedy = advice.on_nothing_learned(recipe)
    else:
        if history.step_losses:
            evidence.append(learned_by_heart(history))
        num_labels = len(asked.labels) if recipe.task == "single_label" else None
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


def _not_finite_predictions(outcomes_by_language: Mapping[str, Answered]) -> str | None:
    bad = [language for language, each in outcomes_by_language.items() if not each.is_finite]
    return f"Predictions are not finite in: {', '.join(bad)}." if bad else None


def _no_better_than_chance(answered: Mapping[str, Outcomes], collapses: Mapping[str, Collapse]) -> list[str]:
    """The languages of which that is so one by one."""
    return [name for name, each in answered.items() if name not in collapses and at_chance(confusions({name: each}))]


def _several(answered: str, languages: Collection[str]) -> str:
    """``More than one class is answered in en, de.``"""
    if not languages:
        return ""
    where = f"in {', '.join(languages)}" if len(languages) <= 5 else f"over {len(languages)} languages"
    return f"{answered} {where}."


def _sound_evidence(history: TrainingHistory, answered: str) -> list[str]:
    evidence = []
    if history.step_losses or history.epochs:
        refused = history.refused_steps
        evidence.append(
            "All losses are finite."
            if not refused
            else f"{refused} of {refused + len(history.step_losses)} "
            "steps were not finite and made no update; the others are."
        )
    if answered:
        evidence.append(answered)
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
