"""What each figure shows, as typed data, for three renderers: PNG and SVG, the page, the terminal. None adds a number.

Shares are in 0 .. 1 (drawn as percent), losses in nats per text, gaps in points, epochs from 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Role = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Curve:
    """A series at one moment, as a chart needs it."""

    points: tuple[tuple[float, float], ...] = ()
    """(x, y) in order of x, all finite; where they were too many, means of neighbours, the two ends as they are."""
    low: float = math.nan
    """Least of all values, also of those that went into a mean."""
    high: float = math.nan
    last: float = math.nan
    """The last value, finite or not."""

    @property
    def x(self) -> tuple[float, ...]:
        """Of the points."""
        return tuple(x for x, _ in self.points)

    @property
    def y(self) -> tuple[float, ...]:
        """Of the points."""
        return tuple(y for _, y in self.points)


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; `low` and `high` are None where none is known."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Series:
    """One line; x and y are of equal length, gaps are left out."""

    name: str
    role: Role
    x: tuple[float, ...]
    y: tuple[float, ...]
    language: str | None = None
    is_source: bool = False
    is_faint: bool = False
    """Background of another line, e.g. the raw losses under their mean; it has no label."""


@dataclass(frozen=True)
class Reference:
    """A horizontal line to read the others by."""

    name: str
    value: float


@dataclass(frozen=True)
class Curves:
    """Lines over epochs."""

    title: str
    y_label: str
    series: tuple[Series, ...]
    best_epoch: float | None = None
    references: tuple[Reference, ...] = ()
    is_percent: bool = True
    are_languages: bool = True
    """Whether a line is a language; otherwise a variant."""
    split: Role = "validation"
    """Of the lines that are not training's."""


@dataclass(frozen=True)
class CurvePanels:
    """Several curve figures beside each other under one name."""

    panels: tuple[Curves, ...]


@dataclass(frozen=True)
class LearningRate:
    """The rate and the gradient norm over steps."""

    steps: tuple[float, ...]
    rate: tuple[float, ...]
    norm_steps: tuple[float, ...]
    norm: tuple[float, ...]
    peak: float
    warmup_end: int | None
    """The step with the highest rate, where the rate rose to it."""
    max_grad_norm: float | None


@dataclass(frozen=True)
class DotRow:
    """One row of a dot plot; `estimates` in the order of the columns, None where there is none."""

    label: str
    estimates: tuple[Estimate | None, ...]
    is_source: bool = False


@dataclass(frozen=True)
class Dots:
    """Values with intervals: rows are languages (or runs), columns are measures."""

    title: str
    x_label: str
    columns: tuple[str, ...]
    rows: tuple[DotRow, ...]
    is_percent: bool = True
    are_languages: bool = True
    """Whether row labels are language codes, to be shown with their names."""


@dataclass(frozen=True)
class DotPanels:
    """Several dot plots beside each other under one name; they share their rows."""

    panels: tuple[Dots, ...]


@dataclass(frozen=True)
class GapRow:
    """Source minus target in points: positive means that the target is worse."""

    label: str
    gap: Estimate
    is_average: bool = False


@dataclass(frozen=True)
class TransferGaps:
    """Transfer gap of each target language, widest first, and their average."""

    metric: str
    source: str
    source_value: float
    rows: tuple[GapRow, ...]
    warning: str = ""
    """Said in the title where the gaps mean nothing."""
    left_out: int = 0
    """Languages with narrower gaps that are not shown; the average counts them."""
    is_percent: bool = True
    """Whether gaps are in points of a share; otherwise in the metric's own unit."""


@dataclass(frozen=True)
class RocLine:
    """One class against the rest."""

    label: str
    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    auc: float


@dataclass(frozen=True)
class PrecisionRecallLine:
    """One class against the rest."""

    label: str
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    average_precision: float
    prevalence: float
    """Share of the texts that are of this class: the precision of guessing."""


@dataclass(frozen=True)
class RocPanel:
    """The ROC curves of one language."""

    language: str
    n: int
    lines: tuple[RocLine, ...]


@dataclass(frozen=True)
class RocCurves:
    """A panel for each language; `left_out` names the languages beyond the limit."""

    split: str
    labels: tuple[str, ...]
    panels: tuple[RocPanel, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConfusionPanel:
    """``counts[true][predicted]`` of one language; its texts say nothing of the labels in `blank`."""

    language: str
    n: int
    accuracy: float
    counts: tuple[tuple[int, ...], ...]
    blank: tuple[int, ...] = ()


@dataclass(frozen=True)
class ConfusionMatrices:
    """A panel for each language; `left_out` names the languages beyond the limit."""

    split: str
    labels: tuple[str, ...]
    panels: tuple[ConfusionPanel, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cooccurrence:
    """Errors that go together: ``counts[i][j]`` texts are answered wrongly on label i and on label j.

    One panel for each language, as `ConfusionMatrices`.
    """

    split: str
    labels: tuple[str, ...]
    panels: tuple[ConfusionPanel, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class CalibrationBin:
    """Texts of like confidence; `accuracy` with its Wilson interval."""

    confidence: float
    accuracy: Estimate


@dataclass(frozen=True)
class CalibrationPanel:
    """The reliability of one language; empty bins are left out."""

    language: str
    n: int
    ece: float
    floor: float
    """The ECE that a perfectly calibrated model would show, by chance."""
    bins: tuple[CalibrationBin, ...]


@dataclass(frozen=True)
class Calibration:
    """A panel for each language; `left_out` names the languages beyond the limit."""

    split: str
    panels: tuple[CalibrationPanel, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScatterPanel:
    """A point for each text of one language, or of some of them; `note` says how many there are."""

    title: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    note: str


@dataclass(frozen=True)
class Scatter:
    """Points beside the line that they would lie on, a panel for each language and score."""

    split: str
    x_label: str
    y_label: str
    panels: tuple[ScatterPanel, ...]
    is_diagonal: bool
    """Whether the line is x = y; otherwise y = 0."""


@dataclass(frozen=True)
class SlicePoint:
    """One trial of a search: the value of a key, or the place of a choice, and what the trial was worth."""

    x: float
    y: float
    outcome: Literal["complete", "pruned", "unsound"]
    is_winner: bool = False
    is_plain: bool = False


@dataclass(frozen=True)
class Slice:
    """All trials by one key of the space."""

    key: str
    points: tuple[SlicePoint, ...]
    is_log: bool = False
    choices: tuple[str, ...] = ()
    """Names of the choices at x = 0, 1, ...; none where x is a number of its own."""


@dataclass(frozen=True)
class Slices:
    """A panel for each key of a search; the scores are those that the search was judged by."""

    y_label: str
    is_percent: bool
    panels: tuple[Slice, ...]


@dataclass(frozen=True)
class Dashboard:
    """One picture of the run: a headline and those of the other figures that exist."""

    name: str
    verdict: str
    facts: tuple[str, ...]
    losses: Curves | None
    scores: Curves | None
    learning_rate: LearningRate | None
    results: Dots | None
    gaps: TransferGaps | None
    confusion: ConfusionPanel | None
    labels: tuple[str, ...]
    by_label: Dots | None = None
    """Of several labels for each text, in the place of the confusion matrix."""
    scatter: Scatter | None = None
    """Of scores, in the same place."""


FigureData = (
    CurvePanels
    | LearningRate
    | DotPanels
    | TransferGaps
    | RocCurves
    | ConfusionMatrices
    | Cooccurrence
    | Calibration
    | Scatter
    | Slices
    | Dashboard
)
