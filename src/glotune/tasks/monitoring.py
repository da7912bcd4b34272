"""Which validation languages choose the checkpoint, by what value, and when their answers show a collapse."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from glotune.data.texts import TextData
from glotune.errors import UserError
from glotune.evidence.collapse import Collapse, deciding_languages, frequency_loss, has_learned, run_collapses
from glotune.recipe.schema import Evaluate
from glotune.stats.arrays import Answered
from glotune.stats.scores import Scores

CORRELATIONS = ("pearson", "spearman", "kappa")
"""Metrics that scores define where two of them differ."""


def monitored_languages(on: str, source_languages: list[str], validated: list[str]) -> list[str]:
    """The validation languages that choose the checkpoint.

    ``source`` is the zero-shot setting. ``target`` reads labelled target texts: an oracle.

    Raises:
        UserError: there is no validation text in such a language.
    """
    wanted = [language for language in validated if (language in source_languages) == (on == "source")]
    if not wanted:
        raise UserError(
            f"evaluate.on is '{on}', but the validation texts are in: {', '.join(validated)}",
            expected=f"validation texts in a {on} language (source languages: {', '.join(source_languages)})",
            remedy="Add them under data.validation, or change evaluate.on",
        )
    return wanted


def refuse_unused_validation(spec: Evaluate, texts: TextData) -> None:
    """Refuses validation texts that could not choose the checkpoint, before anything is made of them.

    Raises:
        UserError: texts that a recipe names, none of them in a language that ``evaluate.on`` asks for; the metric is
            undefined on all of them.
    """
    if texts.named_validation is not None:
        monitored_languages(spec.on, texts.source_languages, texts.named_validation)
    if texts.targets is not None:
        deciding_targets(spec.on, spec.metric, texts)


def deciding_targets(on: str, metric: str, texts: TextData) -> dict[str, NDArray[np.int64]]:
    """Language that chooses the checkpoint -> the targets at which its texts define the metric, whatever the answers;
    without languages where there is no such target.

    Raises:
        UserError: no validation text is in such a language, or all of them leave the metric undefined.
    """
    validation = texts.splits["validation"]
    named = monitored_languages(on, texts.source_languages, validation.language_names)
    defined = {name: np.flatnonzero(_is_defined(metric, _targets(texts, name))) for name in named}
    found = {name: places for name, places in defined.items() if len(places)}
    if not found:
        raise UserError(
            f"evaluate.metric is {metric}, which is undefined on the validation texts in {', '.join(named)}: "
            f"{_why(metric)}",
            expected="validation texts that differ in what is to be learned",
            remedy="Name others under data.validation, or choose by another metric, as evaluate.metric=loss",
        )
    return found


def about_undecided(spec: Evaluate, texts: TextData) -> str | None:
    """The warning that some validation texts do not choose the checkpoint, as the metric is undefined on them."""
    if texts.targets is None:
        return None
    found, left_out = deciding_targets(spec.on, spec.metric, texts), []
    for name in monitored_languages(spec.on, texts.source_languages, texts.splits["validation"].language_names):
        if name not in found:
            left_out.append(name)
            continue
        known = np.flatnonzero(~np.isnan(_targets(texts, name)).all(axis=0))
        missing = [texts.labels[place] for place in np.setdiff1d(known, found[name])]
        left_out += [f"{name} ({', '.join(missing)})"] if missing else []
    if not left_out:
        return None
    return (
        f"{spec.metric} is undefined on the validation texts in {', '.join(left_out)} ({_why(spec.metric)}): the "
        "others choose the checkpoint"
    )


def _targets(texts: TextData, language: str) -> NDArray[np.float32]:
    """[N, L] of the validation texts in a language."""
    assert texts.targets is not None
    validation = texts.splits["validation"]
    found: NDArray[np.float32] = texts.targets[validation.labels[validation.places_in([language])]]
    return found


def _is_defined(metric: str, targets_NL: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[L] whether the truth of a target defines the metric."""
    if metric in CORRELATIONS:
        return np.asarray(np.fmin.reduce(targets_NL, axis=0) < np.fmax.reduce(targets_NL, axis=0))
    if metric == "average_precision":
        return np.asarray((targets_NL == 1.0).any(axis=0))
    return np.asarray(~np.isnan(targets_NL).all(axis=0))


def _why(metric: str) -> str:
    return "no text there has the label" if metric == "average_precision" else "all texts there have one score"


def correlation(answered: Answered, metric: str, places: NDArray[np.int64]) -> float:
    """One of `CORRELATIONS` as it chooses a checkpoint: the mean over the scores at `places` (`deciding_targets`).

    With answers that are all one number it is told as undefined; here it is 0, which any skill is better than.
    """
    once = np.ones((1, answered.num_texts))
    found = [float(answered.statistic(f"{metric}[{place}]")(once)[0]) for place in places]
    return float(np.mean(np.nan_to_num(found)))


def monitored_value(scores: Mapping[str, Scores], languages: list[str], metric: str) -> float:
    """Mean of the metric over the languages, each counting once."""
    values = [scores[language].values()[metric] for language in languages]
    return sum(float("nan") if value is None else value for value in values) / len(values)


def collapse_seen(scores: dict[str, Scores], labels: list[str], source_languages: list[str]) -> str | None:
    """The alarm where only one class is predicted and nothing was learned; None otherwise."""
    collapses = collapses_without_skill(scores, source_languages)
    if not collapses:
        return None
    answered = "; ".join(
        f"{each.predicted_share:.0%} of the validation texts in {', '.join(each.where)} are called "
        f"'{labels[each.label]}'"
        for each in collapses
    )
    found = {language: scores[language] for each in collapses for language in each.where}
    return (
        f"{answered} (validation loss {mean_loss(found):.4f}; knowing only how frequent each label is gives "
        f"{frequency_loss(found.values()):.4f}, guessing ln C = {math.log(len(labels)):.4f}). "
        "Lower optimizer.learning_rate or raise schedule.warmup_ratio"
    )


def collapses_without_skill(scores: dict[str, Scores], source_languages: list[str]) -> list[Collapse]:
    """The collapses of the deciding languages, where the probabilities of none of them have learned anything."""
    if any(has_learned(scores[language]) for language in deciding_languages(scores, source_languages)):
        return []
    return run_collapses(scores, source_languages)


def mean_loss(scores: Mapping[str, Scores]) -> float:
    """Over the languages, each counting once."""
    return sum(found.loss or 0.0 for found in scores.values()) / len(scores)
