"""When a collapse is announced while training: not while the model still learns, and not too late."""

from typing import Any

import numpy as np
import pytest

from glotune.engine.state import TrainingState
from glotune.engine.watch import CollapsedTraining, Watch
from glotune.monitor.watcher import Course
from glotune.run.records import Event
from glotune.stats.arrays import outcomes
from glotune.stats.scores import Scores, score_outcomes
from glotune.tasks.monitoring import collapse_seen

STEPS = 100
MAJORITY = 0.72


class Heard:
    """In place of a recorder: what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def event(self, kind: str, data: dict[str, Any]) -> None:
        self.events.append((kind, data))

    def log(self, message: str) -> None:
        pass

    def said(self) -> list[str]:
        return [str(data["what"]) for _, data in self.events]


def answered(skill: float, lean: float = 1.2, texts: int = 300, seed: int = 0) -> Scores:
    """72 % of one class: a model that leans to it by so many nats and knows the labels by so many."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(texts) >= MAJORITY * texts).astype(int)
    logit = skill * (labels - 0.5) - lean + 0.05 * rng.normal(size=texts)
    positive = 1 / (1 + np.exp(-logit))
    probabilities = np.column_stack([1 - positive, positive])
    return score_outcomes(outcomes(labels, probabilities, -np.log(probabilities[np.arange(texts), labels])))


NOTHING_LEARNED, ORDERS_THE_TEXTS, LEARNED = answered(0.0), answered(1.0), answered(6.0, lean=0.0)


def watched(course: list[Scores], on_collapse: str = "warn") -> Heard:
    """A training with these evaluations, evenly spread over its steps."""
    watch, state, heard = Watch(STEPS, on_collapse), TrainingState(), Heard()
    for place, scores in enumerate(course, start=1):
        state.step = STEPS * place // len(course)
        if state.best_value is None or scores.macro_f1 > state.best_value:
            state.best_step, state.best_value = state.step, scores.macro_f1
        watch.evaluated(state, collapse_seen({"en": scores}, ["good", "bad"], ["en"]), heard)  # type: ignore[arg-type]
    return heard


def test_the_majority_class_after_one_epoch_of_unbalanced_texts_is_no_collapse() -> None:
    """Texts of 72 and 28 %: the first evaluation answers the larger class alone, the last ones are right."""
    assert ORDERS_THE_TEXTS.confusion_CC[1][1] == NOTHING_LEARNED.confusion_CC[1][1] == 0
    for first in (NOTHING_LEARNED, ORDERS_THE_TEXTS):
        assert watched([first, ORDERS_THE_TEXTS, LEARNED, LEARNED, LEARNED], "stop").events == []


def test_probabilities_that_order_the_texts_are_no_collapse_however_long() -> None:
    assert watched([ORDERS_THE_TEXTS] * 5, "stop").events == []


def test_a_model_that_stays_at_one_class_and_learns_nothing_is_announced_once() -> None:
    heard = watched([NOTHING_LEARNED] * 5)
    assert heard.said() == ["collapsed"]
    message = heard.events[0][1]["message"]
    assert message.startswith("collapse: after 40 of 100 steps, as since step 20, 100% of the validation texts in en")
    assert "knowing only how frequent each label is gives 0.5930" in message
    with pytest.raises(CollapsedTraining, match="after 40 of 100 steps"):
        watched([NOTHING_LEARNED] * 5, "retry")


@pytest.mark.parametrize("evaluations", [1, 2, 3, 20])
def test_a_collapse_is_announced_however_seldom_or_often_it_is_evaluated(evaluations: int) -> None:
    assert watched([NOTHING_LEARNED] * evaluations).said() == ["collapsed"]


def test_a_training_that_falls_at_its_very_end_keeps_its_better_checkpoint() -> None:
    assert watched([LEARNED, LEARNED, NOTHING_LEARNED], "stop").events == []


def test_an_alarm_is_taken_back_once_the_model_learns() -> None:
    heard = watched([NOTHING_LEARNED, NOTHING_LEARNED, LEARNED, LEARNED])
    assert heard.said() == ["collapsed", "recovered"]
    course = Course()
    course.add([_event(place, kind, data) for place, (kind, data) in enumerate(heard.events[:1], start=1)])
    assert course.alarm == "collapsed"
    course.add([_event(place, kind, data) for place, (kind, data) in enumerate(heard.events[1:], start=2)])
    assert course.alarm is None


def _event(step: int, kind: str, data: dict[str, Any]) -> Event:
    content = {"kind": kind, "attempt": 1, "step": step, "epoch": 1.0, "time": "", "key": "", "data": data}
    return Event.model_validate(content)


def test_every_deciding_language_is_named_not_the_first_alone() -> None:
    found = {"de": NOTHING_LEARNED, "en": answered(0.0, seed=1)}
    message = collapse_seen(found, ["good", "bad"], ["en", "de"])
    assert message is not None
    assert "in de are called 'good'" in message
    assert "in en are called 'good'" in message
