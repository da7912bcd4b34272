"""Which validation languages choose the checkpoint, by what value, and when their answers show a collapse."""

from __future__ import annotations

import math
from collections.abc import Mapping

from glotune.data.texts import TextData
from glotune.errors import UserError
from glotune.evidence.collapse import Collapse, deciding_languages, frequency_loss, has_learned, run_collapses
from glotune.stats.scores import Scores


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


def refuse_unused_validation(on: str, texts: TextData) -> None:
    """Refuses validation texts that a recipe names and that would not choose the checkpoint.

    Raises:
        UserError: none of them is in a language that `on` asks for.
    """
    if texts.named_validation is not None:
        monitored_languages(on, texts.source_languages, texts.named_validation)


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
