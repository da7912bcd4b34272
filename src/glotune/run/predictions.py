"""Reading the prediction records: numbers at once, texts only of the rows that are shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
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
class Predictions:
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

    @cached_property
    def in_order(self) -> Outcomes:
        """`outcomes`, sorted by file and row: text by text beside those of another run on the same texts."""
        from glotune.stats.arrays import outcomes

        order = self.order_B
        return outcomes(self.label_B[order], self.probabilities_BC[order], self.loss_B[order])

    def without(self, rows: set[int]) -> Outcomes | None:
        """Outcomes of the texts whose source row is not among `rows`.

        None where nothing is left, or where the rows of several files share numbers, so that a number names no text.
        """
        from glotune.stats.arrays import outcomes

        listed = np.isin(self.row_B, list(rows))
        if listed.all() or len(np.unique(self.row_B[listed])) < int(listed.sum()):
            return None
        return outcomes(self.label_B[~listed], self.probabilities_BC[~listed], self.loss_B[~listed])

    def places(self, rows: Iterable[int]) -> NDArray[np.int64] | None:
        """Where texts of these source rows stand in the order of files and rows.

        None where the rows of several files share numbers, so that a number names no text.
        """
        listed_B = np.isin(self.row_B[self.order_B], list(rows))
        if len(np.unique(self.row_B[self.order_B][listed_B])) < int(listed_B.sum()):
            return None
        return np.flatnonzero(listed_B)

    def leaving_out(self, places: NDArray[np.int64]) -> Predictions:
        """The predictions without the texts at these places of the order of files and rows; the file stays whole."""
        kept_B = np.ones(len(self), bool)
        kept_B[self.order_B[places]] = False
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        left: dict[str, Any] = {name: value[kept_B] for name, value in values.items() if isinstance(value, np.ndarray)}
        return replace(self, **left)

    @cached_property
    def order_B(self) -> NDArray[np.int64]:
        """Positions sorted by file and row: the same texts stand in the same order in every run."""
        return np.lexsort((self.row_B, self.source_B))

    def texts(self, positions: NDArray[np.int64]) -> list[tuple[str | None, str | None]]:
        """Text and text pair at these positions; None where the recipe kept no text."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            known = pq.read_schema(self.path).names
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


def read_predictions(path: Path) -> Predictions:
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
    sources, source_B = _coded(table.column("data_hash"))
    return Predictions(
        path=path,
        split=split,
        language=language,
        sources=sources,
        source_B=source_B,
        row_B=_integers(table, "row"),
        label_B=_integers(table, "label"),
        predicted_B=_integers(table, "predicted"),
        probabilities_BC=_matrix(table, path),
        loss_B=np.asarray(table.column("loss").to_numpy(), dtype=np.float64),
    )


def _coded(column: Any) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The values of a column of strings, sorted, and of each row the index of its own: no Python object a row."""
    encoded = column.dictionary_encode().combine_chunks()
    values = [str(value) for value in encoded.dictionary.to_pylist()]
    order = sorted(range(len(values)), key=values.__getitem__)
    places = np.empty(len(values), np.int64)
    places[order] = np.arange(len(values))
    indices = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    return tuple(values[code] for code in order), places[indices]


def row_digest(tables: Iterable[Predictions]) -> str:
    """A hash over language, file, row and label of every text, whatever its place in the file."""
    digest = hashlib.sha256()
    for table in tables:
        order = table.order_B
        digest.update(json.dumps([table.language, len(order), table.sources]).encode())
        for values_B in (table.source_B, table.row_B, table.label_B):
            digest.update(np.ascontiguousarray(values_B[order]).tobytes())
    return digest.hexdigest()


def text_digest(tables: Iterable[Predictions]) -> str | None:
    """A hash over language, text and label, in the order of files and rows; None where a text was not kept."""
    digest = hashlib.sha256()
    for table in tables:
        order = table.order_B
        texts = table.texts(order)
        if any(text is None for text, _ in texts):
            return None
        digest.update(json.dumps([table.language, texts, table.label_B[order].tolist()]).encode())
    return digest.hexdigest()


def _integers(table: Any, name: str) -> NDArray[np.int64]:
    return np.asarray(table.column(name).to_numpy(), dtype=np.int64)


def _matrix(table: Any, path: Path) -> NDArray[np.float64]:
    column = table.column("probabilities").combine_chunks()
    rows = len(column)
    flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    if rows and len(flat) % rows:
        raise UserError(f"{path} has rows with differing numbers of probabilities", expected="one for each class")
    return flat.reshape(rows, len(flat) // rows if rows else 0)
