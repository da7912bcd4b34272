"""Which checkpoint is best, and when to stop early."""

from __future__ import annotations

from collections.abc import Mapping

from glotune.data.texts import TextData
from glotune.engine.state import TrainingState
from glotune.errors import UserError
from glotune.recipe import schema
from glotune.stats.scores import Scores
from glotune.stats.traits import trait


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


def update_best(state: TrainingState, value: float, spec: schema.Evaluate) -> bool:
    """Enters an evaluation's value; returns whether it is the best so far. A NaN never is."""
    sign = -1.0 if trait(spec.metric).direction == "lower" else 1.0
    if (state.best_value is None or sign * value > sign * state.best_value) and value == value:
        state.best_step, state.best_value, state.evaluations_without_gain = state.step, value, 0
        return True
    state.evaluations_without_gain += 1
    state.stopped_early = spec.patience is not None and state.evaluations_without_gain >= spec.patience
    return False
