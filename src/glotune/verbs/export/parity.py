"""The run's model and its export on the same texts: how far probabilities moved, which answers changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glotune.data.texts import LabelledTexts
from glotune.errors import UserError
from glotune.run.records import Interval
from glotune.stats.arrays import Outcomes, outcomes
from glotune.stats.bootstrap import paired_difference
from glotune.stats.evaluation import INTERVAL_SEED
from glotune.stats.scores import score_outcomes
from glotune.tasks.records import clusters_of
from glotune.verbs.evaluate import texts_of
from glotune.verbs.export.record import Parity
from glotune.verbs.predict import Predictor

METRIC = "macro_f1"

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Said:
    """What a model says of N texts."""

    probabilities_NC: NDArray[np.float64]
    answers_N: NDArray[np.int64]
    outside_N: NDArray[np.bool_]
    """Texts with a piece that was cut from its vocabulary."""

    def at(self, rows: NDArray[np.int64]) -> Said:
        """Of some of the texts."""
        return Said(self.probabilities_NC[rows], self.answers_N[rows], self.outside_N[rows])

    def changes(self, other: Said) -> NDArray[np.float64]:
        """[N] the largest absolute difference of a probability, for each text."""
        found: NDArray[np.float64] = np.abs(self.probabilities_NC - other.probabilities_NC).max(axis=1)
        return found

    def changed(self, other: Said) -> int:
        """Texts that the other answers otherwise."""
        return int((self.answers_N != other.answers_N).sum())


def said(predictor: Predictor, logits_NC: NDArray[np.float64], outside_N: NDArray[np.bool_] | None = None) -> Said:
    """These logits as the predictor reads them: by its task, calibrated where it is."""
    inside_N = np.zeros(len(logits_NC), bool)
    return Said(*predictor.read(logits_NC), inside_N if outside_N is None else outside_N)


def ask(predictor: Predictor, texts: LabelledTexts, report: Report) -> Said:
    """What a model says of a split, as ``glotune predict`` would."""
    logits, outside, done = [], [], 0
    for logits_BC, _, outside_B in predictor.engine.stream(texts_of(texts)):
        logits.append(logits_BC)
        outside.append(outside_B)
        done += len(logits_BC)
        report(done, len(texts))
    return said(predictor, np.concatenate(logits), np.concatenate(outside))


def compared(texts: LabelledTexts, before: Said, after: Said) -> Iterator[Parity]:
    """A row for each language of a split."""
    for code, language in enumerate(texts.language_names):
        rows = np.flatnonzero(texts.language_ids == code)
        first, second = before.at(rows), after.at(rows)
        changes_B = first.changes(second)
        labels_B, clusters = texts.labels[rows], clusters_of(texts, rows)
        difference, interval = _difference(
            *(outcomes(labels_B, each.probabilities_NC, None, clusters) for each in (first, second))
        )
        yield Parity(
            split=texts.split,
            language=language,
            n=len(rows),
            largest_change=float(changes_B.max()),
            changed=first.changed(second),
            outside=int(second.outside_N.sum()),
            largest_change_inside=float(changes_B[~second.outside_N].max(initial=0.0)),
            before=macro_f1(labels_B, first),
            after=macro_f1(labels_B, second),
            difference=difference,
            interval=interval,
        )


def macro_f1(labels_N: NDArray[np.int16], said: Said) -> float | None:
    """As a share; None where it is undefined."""
    return score_outcomes(outcomes(labels_N, said.probabilities_NC)).values()[METRIC]


def _difference(before: Outcomes, after: Outcomes) -> tuple[float | None, Interval | None]:
    """Export minus run with its 95 % interval over the texts; both None where macro-F1 is undefined."""
    try:
        found = paired_difference(METRIC, after, before, seed=INTERVAL_SEED)
    except UserError:
        return None, None
    return found.estimate, found.interval()
