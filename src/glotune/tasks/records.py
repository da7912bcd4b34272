"""What an evaluation leaves: one record per prediction, and the scores recomputable from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from glotune.data.texts import LabelledTexts, TextData
from glotune.run.predictions import ANSWERED, hashed_names
from glotune.run.records import Evaluation
from glotune.stats.arrays import Answered, Outcomes, outcomes, softmax
from glotune.stats.clusters import own_clusters
from glotune.stats.evaluation import evaluation_of
from glotune.tasks.task import Answers
from glotune.whole_files import written_aside

ROW_GROUP = 1 << 16
"""Predictions that are written together: no more of them are held than these."""


class SplitAnswers(Protocol):
    """What the network says of the N texts of a split, in the terms of its task."""

    def outcomes(
        self, rows: NDArray[np.int64], labels_N: NDArray[Any], cluster_B: NDArray[np.int64] | None = None
    ) -> Answered:
        """What it says of the texts at `rows`, beside the truth, as every metric reads it.

        Args:
            labels_N: as `LabelledTexts.labels`, of all texts of the split.
        """
        ...

    def columns(self, rows: NDArray[np.int64], labels_B: NDArray[Any]) -> dict[str, pa.Array]:
        """The columns label, predicted, probabilities and loss of the records of the texts at `rows`."""
        ...

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """What the table says beside its rows."""
        ...


@dataclass(frozen=True)
class Outputs:
    """What the network says of the N texts of a split, each of one class."""

    logits_NC: NDArray[np.float64]
    losses_N: NDArray[np.float64]
    """Plain cross-entropy per text, unweighted and unsmoothed; where there are votes, against their distribution."""
    votes_NC: NDArray[np.float32] | None = None
    """As `LabelledTexts.votes`."""
    answers_N: NDArray[np.int64] | None = None
    """Class ids, where thresholds decide; None: the most probable classes."""
    weights_N: NDArray[np.float32] | None = None
    """How much each text counts in metrics; None: once."""

    @classmethod
    def of(cls, answers: Answers, split: LabelledTexts | None) -> Outputs:
        """From the one sweep of an evaluation: logits and, last, the loss.

        Args:
            split: the texts, for their votes and weights; None: they have none.
        """
        (answers_NK,) = answers
        logits_NC, losses_N = answers_NK[:, :-1], answers_NK[:, -1]
        return cls(logits_NC, losses_N) if split is None else cls(logits_NC, losses_N, split.votes, None, split.weights)

    def outcomes(
        self,
        rows: NDArray[np.int64],
        labels_N: NDArray[np.int16],
        cluster_B: NDArray[np.int64] | None = None,
    ) -> Outcomes:
        """What the network says of the texts at `rows`, beside the truth, as every metric reads it.

        Raises:
            UserError: see `glotune.stats.arrays.outcomes`.
        """
        probabilities_BC = softmax(self.logits_NC[rows], in_place=True)
        votes_BC = None if self.votes_NC is None else self.votes_NC[rows]
        answers_B = None if self.answers_N is None else self.answers_N[rows]
        weights_B = None if self.weights_N is None else self.weights_N[rows]
        return outcomes(
            labels_N[rows], probabilities_BC, self.losses_N[rows], cluster_B, votes_BC, answers_B, weights_B
        )

    def columns(self, rows: NDArray[np.int64], labels_B: NDArray[Any]) -> dict[str, pa.Array]:
        """Class ids, probabilities and losses."""
        probabilities = softmax(self.logits_NC[rows], in_place=True)
        return {
            "label": pa.array(labels_B, pa.int16()),
            "predicted": pa.array(
                probabilities.argmax(axis=1) if self.answers_N is None else self.answers_N[rows], pa.int16()
            ),
            "probabilities": lists_of(probabilities),
            "loss": pa.array(self.losses_N[rows], pa.float64()),
            **({} if self.votes_NC is None else {"votes": lists_of(self.votes_NC[rows])}),
        }

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """Whether thresholds decided."""
        return {} if self.answers_N is None else {ANSWERED: b"thresholds"}

    @property
    def refused(self) -> int:
        """Texts whose logits are not all finite."""
        return int((~np.isfinite(self.logits_NC).all(axis=1)).sum())


def record_split(
    folder: Path,
    texts: TextData,
    split: str,
    languages: Mapping[str, NDArray[np.int64]],
    outputs: SplitAnswers,
    with_text: bool,
) -> list[Evaluation]:
    """Writes every prediction of a split; returns its scores per language.

    Args:
        languages: name -> the places of its texts in the split, ascending.
    """
    hashes = [source.sha256 for source in texts.sources]
    evaluations = []
    for language, rows in languages.items():
        tables = prediction_tables(texts.splits[split], rows, hashes, outputs, with_text)
        write_predictions(folder, tables, split, language)
        clusters = clusters_of(texts.splits[split], rows)
        found = outputs.outcomes(rows, texts.splits[split].labels, clusters)
        evaluations.append(evaluation_of(found, split, language, texts.labels))
    return evaluations


def clusters_of(texts: LabelledTexts, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Which of the texts of one language, at `rows`, belong together."""
    ids = texts.table["id"].take(pa.array(rows)) if "id" in texts.table.column_names else None
    named = None if ids is None else hashed_names(ids, language="")  # of one language alone, whichever it is
    return own_clusters(texts.table["key"].to_numpy()[rows], named)


def prediction_tables(
    texts: LabelledTexts, rows: NDArray[np.int64], hashes: list[str], outputs: SplitAnswers, with_text: bool
) -> Iterator[pa.Table]:
    """The records of the texts at `rows`, some at a time; columns as in `records.PREDICTION_COLUMNS`."""
    columns = ["row", "source", "language", "label", "key"]
    columns += ["id"] if "id" in texts.table.column_names else []
    columns += ["weight"] if "weight" in texts.table.column_names else []
    columns += [name for name in ("text", "text_pair") if with_text and name in texts.table.column_names]
    done = 0
    for table in _grouped(_taken(texts.table.select(columns), rows)):
        yield _records(table, texts.split, hashes, outputs, rows[done : done + len(table)])
        done += len(table)


def _taken(table: pa.Table, rows: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
    """The rows at these ascending places, batch by batch."""
    start = 0
    for batch in table.to_batches(max_chunksize=ROW_GROUP):
        first, last = np.searchsorted(rows, (start, start + batch.num_rows))
        if first < last:
            yield batch.take(pa.array(rows[first:last] - start))
        start += batch.num_rows


def _grouped(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(each.num_rows for each in held) >= ROW_GROUP:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


def _records(
    table: pa.Table, split: str, hashes: list[str], outputs: SplitAnswers, rows: NDArray[np.int64]
) -> pa.Table:
    nulls = pa.nulls(len(rows), pa.string())
    found = pa.table(
        {
            "data_hash": pa.array(hashes).take(table["source"]),
            "row": table["row"],
            "split": pa.repeat(split, len(rows)),
            "language": table["language"].cast(pa.string()),
            **outputs.columns(rows, table["label"].to_numpy()),
            **{name: table[name] if name in table.column_names else nulls for name in ("text", "text_pair")},
            "text_key": table["key"],
            "id": table["id"] if "id" in table.column_names else nulls,
            **({"weight": table["weight"]} if "weight" in table.column_names else {}),
        }
    )
    return found.replace_schema_metadata(outputs.metadata) if outputs.metadata else found


def lists_of(values_NC: NDArray[Any], is_null_NC: NDArray[np.bool_] | None = None) -> pa.ListArray:
    """A row of the matrix as one list, null where it is said; no Python object per row."""
    count, width = values_NC.shape
    offsets = np.arange(count + 1, dtype=np.int32) * width
    mask = None if is_null_NC is None else is_null_NC.reshape(-1)
    return pa.ListArray.from_arrays(offsets, pa.array(values_NC.reshape(-1), mask=mask))


def write_predictions(folder: Path, tables: Iterator[pa.Table], split: str, language: str) -> None:
    """Writes one split and language, whole or not at all."""
    folder.mkdir(exist_ok=True)
    target = folder / f"{split}.{language}.parquet"
    first = next(tables)
    with written_aside(target) as file, pq.ParquetWriter(file, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
