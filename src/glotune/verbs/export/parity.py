"""The run's model and its export on the same texts: how far its numbers moved, which answers changed, what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glotune.data.texts import LabelledTexts
from glotune.errors import UserError
from glotune.recipe.kinds import Kind
from glotune.run.records import Decision, Interval
from glotune.stats.arrays import Answered
from glotune.stats.bootstrap import paired_difference
from glotune.stats.evaluation import INTERVAL_SEED
from glotune.tasks.of_recipe import answering
from glotune.tasks.records import clusters_of
from glotune.verbs.evaluate import texts_of
from glotune.verbs.export.record import Parity
from glotune.verbs.predict import Predictor

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Said:
    """What a model says of N texts."""

    logits_NC: NDArray[np.float64]
    values_NC: NDArray[np.float64]
    """Probabilities, or scores."""
    answers_N: NDArray[Any]
    """Class ids; of several labels [N, L], whether each applies; of scores these."""
    outside_N: NDArray[np.bool_]
    """Texts with a piece that was cut from its vocabulary."""

    def at(self, rows: NDArray[np.int64]) -> Said:
        """Of some of the texts."""
        return Said(self.logits_NC[rows], self.values_NC[rows], self.answers_N[rows], self.outside_N[rows])

    def changes(self, other: Said) -> NDArray[np.float64]:
        """[N] the largest change of a number for each text: of a probability, or of a score as a share of itself."""
        scale_NC = np.maximum(1.0, np.abs(self.values_NC))
        found: NDArray[np.float64] = (np.abs(self.values_NC - other.values_NC) / scale_NC).max(axis=1)
        return found

    def changed(self, other: Said) -> int:
        """Texts that the other answers otherwise; of scores none, which all move a little."""
        if self.answers_N.dtype.kind == "f":
            return 0
        return int((self.answers_N != other.answers_N).reshape(len(self.answers_N), -1).any(axis=1).sum())


def said(predictor: Predictor, logits_NC: NDArray[np.float64], outside_N: NDArray[np.bool_] | None = None) -> Said:
    """These logits as the predictor reads them: by its task, calibrated where it is."""
    inside_N = np.zeros(len(logits_NC), bool)
    return Said(logits_NC, *predictor.read(logits_NC), inside_N if outside_N is None else outside_N)


def ask(predictor: Predictor, texts: LabelledTexts, report: Report) -> Said:
    """What a model says of a split, as ``glotune predict`` would."""
    logits, outside, done = [], [], 0
    for logits_BC, _, outside_B in predictor.engine.stream(texts_of(texts)):
        logits.append(logits_BC)
        outside.append(outside_B)
        done += len(logits_BC)
        report(done, len(texts))
    return said(predictor, np.concatenate(logits), np.concatenate(outside))


@dataclass(frozen=True)
class Judge:
    """What is right, and by which metric a run of this task is told."""

    kind: Kind
    targets_KL: NDArray[np.float32] | None
    """As `TextData.targets`."""
    decision: Decision | None
    """Of the run."""

    def value(self, texts: LabelledTexts, found: Said) -> float | None:
        """The metric on a whole split; None where it is undefined."""
        return self._answered(texts, found, np.arange(len(texts))).values()[self.kind.metric]

    def compared(self, texts: LabelledTexts, before: Said, after: Said) -> Iterator[Parity]:
        """A row for each language of a split."""
        for language, rows in texts.places_by_language().items():
            first, second = before.at(rows), after.at(rows)
            changes_B = first.changes(second)
            truths = [self._answered(texts, each, rows) for each in (before, after)]
            difference, interval = self._difference(*truths)
            yield Parity(
                split=texts.split,
                language=language,
                n=len(rows),
                largest_change=float(changes_B.max()),
                changed=first.changed(second),
                outside=int(second.outside_N.sum()),
                largest_change_inside=float(changes_B[~second.outside_N].max(initial=0.0)),
                before=truths[0].values()[self.kind.metric],
                after=truths[1].values()[self.kind.metric],
                difference=difference,
                interval=interval,
            )

    def _answered(self, texts: LabelledTexts, found: Said, rows: NDArray[np.int64]) -> Answered:
        answers = answering(self.kind.name, found.logits_NC, texts, self.targets_KL, self.decision, is_own=False)
        return answers.outcomes(rows, texts.labels, clusters_of(texts, rows))

    def _difference(self, before: Answered, after: Answered) -> tuple[float | None, Interval | None]:
        """Export minus run with its 95 % interval over the texts; both None where the metric is undefined."""
        try:
            found = paired_difference(self.kind.metric, after, before, seed=INTERVAL_SEED)
        except UserError:
            return None, None
        return found.estimate, found.interval()
