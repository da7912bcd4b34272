"""Runs scored again without the test texts that any of them met in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glotune.run.data import RunData


def leaked_places(runs: Sequence[RunData], split: str, languages: Sequence[str]) -> dict[str, NDArray[np.int64]] | None:
    """Language -> places, in the order of files and rows, of texts that stand in an earlier split of any of the runs.

    The runs must answer the same texts. None where there may be such texts but their rows can't be told.

    Raises:
        UserError: predictions that are missing, can't be read, or are not what the run wrote.
    """
    found: dict[str, NDArray[np.int64]] = {}
    if not all(run.keeps_records(split, list(languages)) for run in runs):
        return None
    for run in runs:
        for language in languages:
            rows = run.leaked.get(split, {}).get(language)
            if not rows:
                continue
            run.outcomes(split, language)
            table = run.predictions(split, language)
            listed_B = None if table is None else run.leaked_among(table)
            if table is None or listed_B is None:
                return None
            places = np.flatnonzero(listed_B[table.order_B])
            found[language] = np.union1d(found.get(language, places), places)
    return found


def without_leaks(runs: Sequence[RunData], split: str, languages: Sequence[str]) -> list[RunData] | None:
    """The runs without the texts that any of them met in training, so that they still answer the same ones.

    None where there is nothing to leave out, nothing would be left, or the texts can't be told.

    Raises:
        UserError: as `leaked_places`.
    """
    places = leaked_places(runs, split, languages)
    if not places or any(len(places[code]) >= runs[0].texts(split, [code]) for code in places):
        return None
    left_out = {(split, code): each for code, each in places.items()}
    return [run.leaving_out(left_out) for run in runs]
