"""A run's events, sorted as they come: nothing is sorted twice, and only what can be shown is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from glotune.report.figures.growing import Growing
from glotune.run.history import History, StepPoint, read_history
from glotune.run.records import Event

RECENT_STEPS = 50
"""Throughput and time left are measured over this many last steps: the present pace, not the average of the run."""
TRAINED = ("step", "epoch", "evaluation", "alert", "status")
"""Events that say how far training is."""


class Course:
    """The course of one run. It takes events that count, in order (`glotune.run.directory.events_that_count`)."""

    def __init__(self) -> None:
        self.history = History()
        """All but the steps."""
        self.step, self.epoch = 0, 0.0
        """Optimizer steps done, and where in training that is."""
        self.recent: deque[StepPoint] = deque(maxlen=RECENT_STEPS)
        self.texts = self.tokens = 0
        """Of all steps."""
        self.loss, self.learning_rate = Growing(), Growing()
        self.alarm: str | None = None
        """What the last alert is about; None again once it was taken back."""
        self.taken = self.scored = 0
        """Events so far, and evaluations among them: what rests on either is made anew when it has grown."""
        self._attempt = 0
        self._last_step = 0
        self._seen: set[tuple[str, int, str]] = set()

    def continues(self, events: Sequence[Event]) -> bool:
        """Whether the events only go on: no other attempt begins, and nothing is said a second time.

        Never true of the first ones: they may hold several attempts.
        """
        last, seen = self._last_step, set()
        for event in events:
            key = (event.kind, event.step, event.key)
            again = event.step <= last if event.kind == "step" else key in self._seen or key in seen
            if again or event.attempt != self._attempt:
                return False
            seen.add(key)
            last = event.step if event.kind == "step" else last
        return True

    def add(self, events: Sequence[Event]) -> None:
        """Sorts in what is new."""
        for event in events:
            self._attempt = max(self._attempt, event.attempt)
            if event.kind in TRAINED and event.step > self.step:
                self.step, self.epoch = event.step, event.epoch
            if event.kind == "alert":
                self.alarm = str(event.data["what"]) if "what" in event.data else "alert"
            if event.kind == "warning" and event.data.get("what") == "recovered" and self.alarm == "collapsed":
                self.alarm = None
            if event.kind == "step":
                self._last_step = event.step
            else:
                self._seen.add((event.kind, event.step, event.key))
        fresh = read_history(events)
        for point in fresh.steps:
            self.recent.append(point)
            self.texts += point.texts
            self.tokens += point.tokens
            self.loss.add(point.step, point.loss)
            self.learning_rate.add(point.step, point.learning_rate)
        self.history = _joined(self.history, fresh)
        self.taken += len(events)
        self.scored += sum(map(len, fresh.evaluations.values()))


def _joined(old: History, new: History) -> History:
    evaluations = old.evaluations
    if new.evaluations:
        evaluations = dict(evaluations)
        for key, points in new.evaluations.items():
            evaluations[key] = (*evaluations[key], *points) if key in evaluations else points
    found = new if new.best_step is not None else old
    return replace(
        old,
        evaluations=evaluations,
        best_step=found.best_step,
        best_epoch=found.best_epoch,
        best=found.best,
        notices=old.notices + new.notices,
    )
