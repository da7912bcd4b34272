"""The transfer gap: what a language loses against the one that the model learned from.

Gap = source minus target, so a positive gap is a worse target; for metrics where lower is
better the sign is turned, so that it stays so. In points (hundredths) where the metric is a
share. Where the texts of two languages are translations of one another, as in XNLI or NusaX, the gap
is paired: a sentence that is hard in both languages cancels out. Other texts are independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glotune.errors import UserError
from glotune.run.records import Interval
from glotune.stats.arrays import Answered
from glotune.stats.bootstrap import Together, resample_together
from glotune.stats.resampling import LEVEL, RESAMPLES
from glotune.stats.traits import trait


@dataclass(frozen=True)
class Gap:
    """One target language.

    Attributes:
        language: its code.
        n: its texts.
        score: the metric on it, raw.
        points: source minus target (see the module), in points or the metric's unit.
        interval: of `points`.
    """

    language: str
    n: int
    score: float
    points: float
    interval: Interval


@dataclass(frozen=True)
class Transfer:
    """How one model carries over from its source languages.

    Attributes:
        metric: name.
        unit: ``points`` or the metric's own unit.
        source_languages: averaged with equal weight.
        source_score: raw.
        source_interval: of `source_score`.
        gaps: one for each target language, in the order given.
        average_points: plain mean over target languages; None without any.
        average_interval: of `average_points`, over texts; the languages themselves are fixed.
        worst_language: the largest gap; None without any.
        worst_share: share of resamples in which it is the worst: near 1 where it is clear.
        undefined: languages on which the metric does not exist (e.g. AUC without a class).
    """

    metric: str
    unit: str
    source_languages: tuple[str, ...]
    source_score: float
    source_interval: Interval
    gaps: tuple[Gap, ...]
    average_points: float | None
    average_interval: Interval | None
    worst_language: str | None
    worst_share: float | None
    undefined: tuple[str, ...]


def transfer_gaps(
    outcomes_by_language: Mapping[str, Answered],
    source_languages: Sequence[str],
    metric: str = "macro_f1",
    *,
    seed: int,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Transfer:
    """Measure the gap of every language that is not a source language.

    Raises:
        UserError: a source language has no texts here, or the metric is undefined on it.
    """
    missing = [language for language in source_languages if language not in outcomes_by_language]
    if missing or not source_languages:
        raise UserError(
            f"no texts in the source language {', '.join(missing) or '(none is named)'}",
            expected="texts of every source language in this split, to compare the others with",
            remedy="Add them to data.test (or data.validation)",
        )
    names = list(outcomes_by_language)
    together = resample_together(list(outcomes_by_language.values()), metric, seed=seed, resamples=resamples)
    undefined = tuple(name for place, name in enumerate(names) if place not in set(together.defined))
    if set(undefined) & set(source_languages):
        raise UserError(
            f"{metric} is undefined on the source language {undefined[0]}",
            expected="texts of every class",
            remedy="Choose another metric, e.g. macro_f1",
        )
    targets = [name for name in names if name not in source_languages and name not in undefined]
    return _summarise(metric, tuple(source_languages), targets, together, outcomes_by_language, undefined, level)


def _summarise(
    metric: str,
    source_languages: tuple[str, ...],
    targets: list[str],
    together: Together,
    outcomes_by_language: Mapping[str, Answered],
    undefined: tuple[str, ...],
    level: float,
) -> Transfer:
    known, names = trait(metric), list(outcomes_by_language)
    factor = (100.0 if known.is_percent else 1.0) * (1.0 if known.higher_is_better else -1.0)

    def weights(of: Mapping[str, float]) -> list[float]:
        return [of.get(name, 0.0) for name in names]

    share = {name: 1.0 / len(source_languages) for name in source_languages}
    source = together.weighted(weights(share))
    turned = {name: factor * value for name, value in share.items()}
    differences = {name: together.weighted(weights({**turned, name: -factor})) for name in targets}
    gaps = tuple(
        Gap(
            name,
            outcomes_by_language[name].num_texts,
            together.weighted(weights({name: 1.0})).estimate,
            each.estimate,
            each.interval(level),
        )
        for name, each in differences.items()
    )
    average = worst = worst_share = None
    if gaps:
        average = together.weighted(weights({**turned, **dict.fromkeys(targets, -factor / len(targets))}))
        place = max(range(len(gaps)), key=lambda index: gaps[index].points)
        worst = gaps[place].language
        draws_TR = np.stack([each.draws_R for each in differences.values()])
        worst_share = float(np.mean(draws_TR.argmax(axis=0) == place))
    return Transfer(
        metric=metric,
        unit="points" if known.is_percent else known.unit,
        source_languages=source_languages,
        source_score=source.estimate,
        source_interval=source.interval(level),
        gaps=gaps,
        average_points=None if average is None else average.estimate,
        average_interval=None if average is None else average.interval(level),
        worst_language=worst,
        worst_share=worst_share,
        undefined=undefined,
    )


@dataclass(frozen=True)
class TransferMatrix:
    """Source by target scores of a study; None where no run measured the pair.

    Attributes:
        metric: name.
        sources: row names; ``en+de`` where a variant is trained on several languages.
        targets: column names.
        score_ST: raw scores.
    """

    metric: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    score_ST: tuple[tuple[float | None, ...], ...]

    def average_to_others(self, source: str) -> float | None:
        """The mean score of a source over the targets that it is not trained on; None without any."""
        row, own = self.score_ST[self.sources.index(source)], source.split("+")
        others = [score for name, score in zip(self.targets, row, strict=True) if name not in own and score is not None]
        return float(np.mean(others)) if others else None


def transfer_matrix(metric: str, scores: Mapping[tuple[str, str], float]) -> TransferMatrix:
    """Arrange scores by (source, target); sources come first among the targets, then by name."""
    sources = sorted({source for source, _ in scores})
    targets = sources + sorted({target for _, target in scores} - set(sources))
    targets = [name for name in targets if any((source, name) in scores for source in sources)]
    rows = tuple(tuple(scores.get((source, target)) for target in targets) for source in sources)
    return TransferMatrix(metric, tuple(sources), tuple(targets), rows)
