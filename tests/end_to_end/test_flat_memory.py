"""Memory does not grow with the texts: what a run reads lies on disk, and a row costs the numbers that it has."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from faults.load import write_rows
from faults.memory import in_child

from glotune.data.profile import leaked_rows, shared_texts, split_profile
from glotune.data.reading import read_texts
from glotune.recipe.schema import Data
from glotune.stats import evaluation
from glotune.tasks import records
from glotune.tasks.records import Outputs, record_split

FEW, MANY = 200_000, 600_000
BYTES_PER_ROW = 120
"""Measured: 65 to check the texts, 99 to judge three classes: numbers of the rows. Texts in memory would add 155."""


def judge(source: Path, folder: Path) -> None:
    """All that a run does with its texts, but for the encoder."""
    texts = read_texts(Data(train={"en": str(source)}), 0)
    train = texts.splits["train"]
    split_profile(train, texts.labels)
    assert not leaked_rows(texts, "validation")
    assert not shared_texts(texts)
    outputs = Outputs(np.broadcast_to(np.array([1.0, 0.5, 0.0]), (len(train), 3)), np.broadcast_to(0.5, len(train)))
    record_split(folder, texts, "train", {"en": np.flatnonzero(train.language_ids == 0)}, outputs, with_text=True)


def held(folder: Path) -> dict[int, int]:
    """Peak bytes by the number of rows, the lesser of two: what allocators hold back differs from run to run."""
    records.ROW_GROUP = 1 << 13  # blocks that few rows fill as many do
    evaluation.score_intervals = lambda found, metrics, *, seed: {}  # type: ignore[assignment]  # slow, a block of its own
    own = {}
    for count in (FEW, MANY):
        source = write_rows(folder / f"{count}.csv", count, "en")
        twice = [in_child(lambda: judge(source, folder / str(count)), folder / "log") for _ in range(2)]  # noqa: B023
        assert not any(used.code for used in twice), (folder / "log").read_text()
        own[count] = min(used.own for used in twice)
    return own


@pytest.mark.extras
def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    """From a fresh process: in a child of this one the free memory of the tests before would hide or add some."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        own = fresh.submit(held, tmp_path).result()
    assert (own[MANY] - own[FEW]) / (MANY - FEW) < BYTES_PER_ROW, own
