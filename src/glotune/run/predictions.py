"""Reading the prediction records: numbers at once, texts only of the rows that are shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glotune.errors import UserError

if TYPE_CHECKING:
    from glotune.stats.arrays import Outcomes

NUMBER_COLUMNS = ["data_hash", "row", "label", "predicted", "probabilities", "loss"]


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """The predictions of one split and language.

    Attributes:
        row_B: row in the source file, 1 = the first data row.
        label_B, predicted_B: class ids.
        probabilities_BC: float64, each row sums to 1.
        loss_B: cross-entropy per text in nats.
        source_B: index into `sources` of the file that the row stands in.
        sources: the hashes of the files, sorted.
    """

    path: Path
    split: str
    language: str
    sources: tuple[str, ...]
    source_B: NDArray[np.int64]
    row_B: NDArray[np.int64]
    label_B: NDArray[np.int64]
    predicted_B: NDArray[np.int64]
    probabilities_BC: NDArray[np.float64]
    loss_B: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.row_B)

    @cached_property
    def outcomes(self) -> Outcomes:
        """The same, as every metric reads it."""
        from glotune.stats.arrays import outcomes

        return outcomes(self.label_B, self.probabilities_BC, self.loss_B)

    def without(self, rows: set[int]) -> Outcomes | None:
        """Outcomes of the texts whose source row is not among `rows`.

        None where nothing is left, or where the rows of several files share numbers, so that a number names no text.
        """
        from glotune.stats.arrays import outcomes

        listed = np.isin(self.row_B, list(rows))
        if listed.all() or len(np.unique(self.row_B[listed])) < int(listed.sum()):
            return None
        return outcomes(self.label_B[~listed], self.probabilities_BC[~listed], self.loss_B[~listed])

    @cached_property
    def order_B(self) -> NDArray[np.int64]:
        """Positions sorted by file and row: the same texts stand in the same order in every run."""
        return np.lexsort((self.row_B, self.source_B))

    def texts(self, positions: NDArray[np.int64]) -> list[tuple[str | None, str | None]]:
        """Text and text pair at these positions; None where the recipe kept no text."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            known = pq.ParquetFile(self.path).schema_arrow.names
            columns = [name for name in ("text", "text_pair") if name in known]
            table = pq.read_table(self.path, columns=columns).take(positions)
            found = {name: table.column(name).to_pylist() for name in columns}
        except (OSError, ValueError, pa.ArrowException) as error:
            raise UserError(f"the texts of {self.path} can't be read ({str(error).splitlines()[0]})") from error
        nothing: list[str | None] = [None] * len(positions)
        return list(zip(found.get("text", nothing), found.get("text_pair", nothing), strict=True))


def split_and_language(path: Path) -> tuple[str, str]:
    """``predictions/test.zh-Hans.parquet`` -> ``("test", "zh-Hans")``."""
    split, _, language = path.name.removesuffix(".parquet").partition(".")
    return split, language


def read_predictions(path: Path) -> PredictionTable:
    """Reads one prediction table.

    Raises:
        UserError: the file is no prediction table, or was cut off while written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=NUMBER_COLUMNS)
        table.validate(full=True)  # strings that are no UTF-8, say
    except (OSError, pa.ArrowException, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} can't be read as a prediction table ({reason})",
            expected=f"Parquet with the columns {', '.join(NUMBER_COLUMNS)}",
            remedy="Write it again with: glotune evaluate",
        ) from error
    split, language = split_and_language(path)
    hashes = np.asarray([str(value) for value in table.column("data_hash").to_pylist()])
    sources, source_B = np.unique(hashes, return_inverse=True)
    return PredictionTable(
        path=path,
        split=split,
        language=language,
        sources=tuple(map(str, sources)),
        source_B=np.asarray(source_B, dtype=np.int64),
        row_B=_integers(table, "row"),
        label_B=_integers(table, "label"),
        predicted_B=_integers(table, "predicted"),
        probabilities_BC=_matrix(table, path),
        loss_B=np.asarray(table.column("loss").to_numpy(), dtype=np.float64),
    )


def _integers(table: Any, name: str) -> NDArray[np.int64]:
    return np.asarray(table.column(name).to_numpy(), dtype=np.int64)


def _matrix(table: Any, path: Path) -> NDArray[np.float64]:
    column = table.column("probabilities").combine_chunks()
    rows = len(column)
    flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    if rows and len(flat) % rows:
        raise UserError(f"{path} has rows with differing numbers of probabilities", expected="one for each class")
    return flat.reshape(rows, len(flat) // rows if rows else 0)
