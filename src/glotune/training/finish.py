"""What a finished run leaves: one record per prediction, and the scores recomputable from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from glotune.data.texts import LabelledTexts, TextData
from glotune.metrics.arrays import Outcomes, outcomes
from glotune.metrics.bootstrap import score_intervals
from glotune.metrics.scores import score_outcomes
from glotune.records import Evaluation
from glotune.training.evaluate import Outputs

INTERVAL_SEED = 0
"""Intervals are a function of the predictions alone: the same for every run and reader."""


def prediction_table(
    texts: LabelledTexts, rows: NDArray[np.int64], hashes: list[str], outputs: Outputs, with_text: bool
) -> pa.Table:
    """The records of some rows of a split; columns as in `records.PREDICTION_COLUMNS`."""
    table = texts.table.take(pa.array(rows))
    probabilities = outputs.probabilities_NC[rows]
    nulls = pa.nulls(len(rows), pa.string())
    pairs = table["text_pair"] if texts.has_pairs and with_text else nulls
    return pa.table(
        {
            "data_hash": pa.array(hashes).take(table["source"]),
            "row": table["row"],
            "split": pa.repeat(texts.split, len(rows)),
            "language": table["language"].cast(pa.string()),
            "label": table["label"],
            "predicted": pa.array(probabilities.argmax(axis=1), pa.int16()),
            "probabilities": _lists(probabilities),
            "loss": pa.array(outputs.losses_N[rows], pa.float64()),
            "text": table["text"] if with_text else nulls,
            "text_pair": pairs,
        }
    )


def write_predictions(folder: Path, table: pa.Table, split: str, language: str) -> None:
    """Writes one split and language, whole or not at all."""
    folder.mkdir(exist_ok=True)
    target = folder / f"{split}.{language}.parquet"
    aside = folder / f".{target.name}.tmp"
    pq.write_table(table, aside)
    aside.replace(target)


def evaluation_of(table: pa.Table, split: str, language: str, labels: list[str]) -> Evaluation:
    """The scores of one prediction table, with 95 % intervals over its texts."""
    found = outcomes_of(table)
    scores = score_outcomes(found)
    return Evaluation(
        split=split,
        language=language,
        n=scores.n,
        scores=scores.values(),
        intervals=score_intervals(found, seed=INTERVAL_SEED),
        per_class=scores.class_values(labels),
        confusion=[list(row) for row in scores.confusion_CC],
    )


def outcomes_of(table: pa.Table) -> Outcomes:
    """The arrays behind a prediction table."""
    probabilities = table["probabilities"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    return outcomes(table["label"].to_numpy(), probabilities, table["loss"].to_numpy())


def _lists(values_NC: NDArray[np.float64]) -> pa.ListArray:
    """A row of the matrix as one list; no Python object per row, of which there may be millions."""
    count, width = values_NC.shape
    return pa.ListArray.from_arrays(np.arange(0, (count + 1) * width, width, dtype=np.int32), values_NC.reshape(-1))


def record_split(
    folder: Path,
    texts: TextData,
    split: str,
    languages: Mapping[str, NDArray[np.int64]],
    outputs: Outputs,
    with_text: bool,
) -> list[Evaluation]:
    """Writes every prediction of a split; returns its scores per language."""
    hashes = [source.sha256 for source in texts.sources]
    evaluations = []
    for language, rows in languages.items():
        table = prediction_table(texts.splits[split], rows, hashes, outputs, with_text)
        write_predictions(folder, table, split, language)
        evaluations.append(evaluation_of(table, split, language, texts.labels))
    return evaluations
