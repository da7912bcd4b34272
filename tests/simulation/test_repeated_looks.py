"""How often do looks after each added seed decide a claim falsely? Stated: at most 5 %, over all looks together.

The claim is false by a hair and every look may decide it on either side; seeds are added until it is decided, or there
are as many as `MOST`. ``before`` gives every look the whole level, as if it were the only one.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from glotune.stats.contrasts import Contrast, contrast, seeds_to_settle
from glotune.study.locked_plan import LockedPlan, Look, level_of_look

REPEATS = 4_000
ERROR = 3 * np.sqrt(0.05 * 0.95 / REPEATS)
FIRST, MOST = 3, 10
LEVEL = 0.95


def looked_at(times: int) -> LockedPlan:
    """A plan whose claims were tested so many times."""
    looks = [Look(time="", evidence=str(number), runs=[], level=LEVEL, answers={}) for number in range(times)]
    content = {"claims": []}
    return LockedPlan(locked="", runs=0, hash="", content=content, current=content, looks=looks)


LEVELS = [level_of_look(looked_at(times), "new", LEVEL) for times in range(MOST)]


def of_seeds(values_RGS: NDArray[np.float64], seeds: int, text_R: NDArray[np.float64], spread: float) -> Contrast:
    """The contrast of the first seeds; the error that the texts share stays, whatever the number of seeds."""
    values = values_RGS[:, :, :seeds]
    means = values.mean(axis=2)
    means[:, 0] += text_R
    return contrast(
        means, values.var(axis=2, ddof=1), [seeds, seeds], [1, -1], text_variance=spread**2, text_df=500
    )  # fmt: skip


def draws(seed: int, spread: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(REPEATS, 2, 40)), rng.normal(0, spread, REPEATS) if spread else np.zeros(REPEATS)


def ever_decided(level_of: Callable[[int], float], spread: float) -> float:
    values, texts = draws(0, spread)
    decided = np.zeros(REPEATS, bool)
    for number, seeds in enumerate(range(FIRST, MOST + 1)):
        found = of_seeds(values, seeds, texts, spread)
        decided |= np.abs(found.estimate) > found.half_width(level_of(number))
    return float(decided.mean())


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_looks_after_each_seed_spend_one_error_together(spread: float) -> None:
    assert ever_decided(lambda number: LEVELS[number], spread) <= 0.05 + ERROR
    assert ever_decided(lambda number: LEVEL, spread) > 0.08, "every look at the whole level: what it is against"


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_adding_the_seeds_that_the_report_asks_for_stays_within_it(spread: float) -> None:
    """'About N more seeds would settle it', again and again: N follows from what was seen."""
    values, texts = draws(1, spread)
    decided = 0
    for repeat in range(REPEATS // 4):
        seeds, number = FIRST, 0
        while seeds <= 40 and number < len(LEVELS):
            one = slice(repeat, repeat + 1)
            found = of_seeds(values[one], seeds, texts[one], spread)
            alone = Contrast(*(getattr(found, name)[0] for name in Contrast.__dataclass_fields__))
            if abs(float(alone.estimate)) > float(alone.half_width(LEVELS[number])):
                decided += 1
                break
            more = seeds_to_settle(alone, [seeds, seeds], 0.0, LEVELS[min(number + 1, len(LEVELS) - 1)])
            if more is None:
                break
            seeds, number = seeds + more, number + 1
    assert decided / (REPEATS // 4) <= 0.05 + 2 * ERROR


def test_however_many_looks_they_spend_no_more_than_the_level() -> None:
    spent = [1 - level for level in LEVELS]
    assert sum(spent) < 1 - LEVEL
    assert spent == sorted(spent, reverse=True)
    assert spent[0] == pytest.approx(0.04)


def test_the_same_runs_again_are_no_new_look() -> None:
    assert level_of_look(looked_at(3), "1", LEVEL) == LEVELS[1]
    assert level_of_look(looked_at(3), "other", LEVEL) == LEVELS[3]
