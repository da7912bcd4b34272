"""Reading the prediction records: numbers at once, texts only of the rows that are shown."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glotune.errors import UserError

if TYPE_CHECKING:
    from glotune.stats.arrays import Answered
    from glotune.stats.clusters import TextKeys

NUMBER_COLUMNS = ["data_hash", "row", "label", "predicted", "probabilities", "loss"]
KEY_COLUMNS = ["text_key", "id", "votes", "weight"]
"""What says which texts belong together, what annotators said, and how much texts count: records of older versions, and
of other tasks, lack them."""
ANSWERED = b"glotune.answered"
"""In a table's metadata: ``thresholds`` where `predicted` is not simply the most probable class."""
LEVELS = b"glotune.levels"
"""In a table's metadata: the values that scores take, as JSON, where they are levels."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of one split and language.

    Attributes:
        row_B: row in the source file, 1 = the first data row.
        label_B, predicted_B: class ids; of several labels [B, L] of 1, 0 and -1 (not annotated), of scores [B, L]
            float64, NaN where there is none.
        probabilities_BC: float64, each row sums to 1; of several labels [B, L], each by itself; of scores [B, 0].
        loss_B: per text: cross-entropy in nats, or squared error in units of the training scores' variance.
        source_B: index into `sources` of the file that the row stands in.
        sources: the hashes of the files, sorted.
        text_key_B: hash of the normalised text; None in records of older versions.
        id_B: hash of the column ``data.columns.id``; None where none was named.
        levels: the values that scores take, where they are levels.
        votes_BC: annotators' votes for each class; None where a text has a label alone.
        by_thresholds: whether `predicted_B` is not simply the most probable class.
        weight_B: how much each text counts in metrics; None: once.
    """

    path: Path
    split: str
    language: str
    sources: tuple[str, ...]
    source_B: NDArray[np.int64]
    row_B: NDArray[np.int64]
    label_B: NDArray[Any]
    predicted_B: NDArray[Any]
    probabilities_BC: NDArray[np.float64]
    loss_B: NDArray[np.float64]
    text_key_B: NDArray[np.int64] | None = None
    id_B: NDArray[np.int64] | None = None
    levels: tuple[float, ...] = ()
    votes_BC: NDArray[np.float64] | None = None
    by_thresholds: bool = False
    weight_B: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.row_B)

    @cached_property
    def outcomes(self) -> Answered:
        """The same, as every metric reads it."""
        clusters = None if self._cluster_B is None else np.empty_like(self._cluster_B)
        if clusters is not None and self._cluster_B is not None:
            clusters[self.order_B] = self._cluster_B
        return self._answered(slice(None), clusters)

    @cached_property
    def in_order(self) -> Answered:
        """`outcomes`, sorted by file and row: text by text beside those of another run on the same texts."""
        return self._answered(self.order_B, self._cluster_B)

    def _answered(self, places: slice | NDArray[Any], cluster_B: NDArray[np.int64] | None) -> Answered:
        """The texts at these places, by the task whose records these are."""
        label_B, predicted_B, loss_B = self.label_B[places], self.predicted_B[places], self.loss_B[places]
        if label_B.ndim == 1:
            from glotune.stats.arrays import outcomes

            votes_BC = None if self.votes_BC is None else self.votes_BC[places]
            answer_B = predicted_B if self.by_thresholds else None
            weight_B = None if self.weight_B is None else self.weight_B[places]
            return outcomes(label_B, self.probabilities_BC[places], loss_B, cluster_B, votes_BC, answer_B, weight_B)
        if label_B.dtype.kind == "f":
            from glotune.stats.ratings import ratings

            return ratings(label_B, predicted_B, loss_B, cluster_B, self.levels)
        from glotune.stats.label_sets import label_sets

        return label_sets(label_B, self.probabilities_BC[places], predicted_B == 1, loss_B, cluster_B)

    @cached_property
    def is_wrong_B(self) -> NDArray[np.bool_]:
        """Texts with a wrong answer, of several labels to any that is annotated; of scores none is right or wrong."""
        if self.label_B.ndim == 1:
            return np.asarray(self.label_B != self.predicted_B)
        if self.label_B.dtype.kind == "f":
            return np.ones(len(self), bool)
        return np.asarray(((self.label_B >= 0) & (self.label_B != self.predicted_B)).any(axis=1))

    def said(self, place: int, labels: list[str]) -> tuple[str, str]:
        """What is true of a text and what was answered, in words."""
        return _words(self.label_B[place], labels), _words(self.predicted_B[place], labels)

    @cached_property
    def keys(self) -> TextKeys:
        """What says which texts belong together, by file and row."""
        from glotune.stats.clusters import TextKeys

        order, texts = self.order_B, self._text_keys()
        return TextKeys(
            self.row_B[order],
            np.ascontiguousarray(self.label_B[order]).view(np.int64),
            None if texts is None else texts[order],
            None if self.id_B is None else self.id_B[order],
        )

    @cached_property
    def _cluster_B(self) -> NDArray[np.int64] | None:
        """Texts of this language that belong together, by file and row; None where each stands for itself."""
        from glotune.stats.clusters import own_clusters

        return own_clusters(self.keys.text_B, self.keys.key_B)

    def _text_keys(self) -> NDArray[np.int64] | None:
        """Those recorded, or else of the texts where they were kept."""
        if self.text_key_B is not None:
            return self.text_key_B
        import pyarrow.parquet as pq

        if pq.read_metadata(self.path).num_rows != len(self):
            return None  # some were left out: places in the file are others
        try:
            texts = self.texts(np.arange(len(self)))
        except UserError:
            return None
        if any(text is None for text, _ in texts):
            return None
        return _hashes([unicodedata.normalize("NFC", f"{text}\x1f{pair or ''}").strip() for text, pair in texts])

    def of_rows(self, rows: Iterable[int], files: Sequence[str] | None = None) -> NDArray[np.bool_] | None:
        """[B] which texts are of these source rows.

        None where the rows of several files share numbers, so that a number names no text.

        Args:
            files: SHA-256 of the file of each row; None where it is not known.
        """
        wanted = np.asarray(list(rows), dtype=np.int64)
        if files is None:
            listed_B = np.isin(self.row_B, wanted)
            return None if len(np.unique(self.row_B[listed_B])) < int(listed_B.sum()) else listed_B
        listed_B, named = np.zeros(len(self), bool), np.asarray(files)
        for code, name in enumerate(self.sources):
            listed_B |= (self.source_B == code) & np.isin(self.row_B, wanted[named == name])
        return listed_B

    def without(self, listed_B: NDArray[np.bool_]) -> Answered | None:
        """Outcomes of the texts that are not listed; None where nothing is left."""
        if listed_B.all():
            return None
        clusters = self.outcomes.cluster_B
        left = None if clusters is None else clusters[~listed_B]
        return self._answered(~listed_B, left)

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


def numbered_alike(tables: Mapping[str, Predictions]) -> dict[str, Answered]:
    """The outcomes of several languages by file and row, their texts that belong together numbered alike."""
    from glotune.stats.clusters import find_clusters

    clusters = find_clusters({language: table.keys for language, table in tables.items()}).cluster_B
    return {language: table.in_order.clustered(clusters.get(language)) for language, table in tables.items()}


def answers_in(folder: Path, split: str, languages: Iterable[str]) -> dict[str, Answered]:
    """The same from a folder of prediction tables; empty where one of them is missing or can't be read."""
    try:
        tables = {language: read_predictions(folder / f"{split}.{language}.parquet") for language in languages}
    except UserError:
        return {}
    return numbered_alike(tables)


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
        known = set(pq.read_schema(path).names)
        table = pq.read_table(path, columns=[*NUMBER_COLUMNS, *(name for name in KEY_COLUMNS if name in known)])
        table.validate(full=True)  # strings that are no UTF-8, say
    except (OSError, pa.ArrowException, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} can't be read as a prediction table ({reason})",
            expected=f"Parquet with the columns {', '.join(NUMBER_COLUMNS)}",
            remedy="Put it back as it was, or leave the run out; tables of glotune evaluate can be made again",
        ) from error
    split, language = split_and_language(path)
    sources, source_B = _coded(table.column("data_hash"))
    levels = (table.schema.metadata or {}).get(LEVELS)
    return Predictions(
        path=path,
        split=split,
        language=language,
        sources=sources,
        source_B=source_B,
        row_B=_integers(table, "row"),
        label_B=_answers(table, "label", path),
        predicted_B=_answers(table, "predicted", path),
        probabilities_BC=_matrix(table, path),
        loss_B=np.asarray(table.column("loss").to_numpy(), dtype=np.float64),
        text_key_B=_integers(table, "text_key") if "text_key" in known else None,
        id_B=hashed_names(table.column("id"), language) if "id" in known else None,
        levels=() if levels is None else tuple(json.loads(levels)),
        votes_BC=_matrix(table, path, "votes") if "votes" in known else None,
        by_thresholds=(table.schema.metadata or {}).get(ANSWERED) == b"thresholds",
        weight_B=np.asarray(table.column("weight").to_numpy(), dtype=np.float64) if "weight" in known else None,
    )


def _words(answer: Any, labels: list[str]) -> str:
    """A class by its name, several labels by theirs, scores as numbers."""
    if np.ndim(answer) == 0:
        return labels[int(answer)]
    if answer.dtype.kind == "f":
        known = [(name, value) for name, value in zip(labels, answer, strict=True) if np.isfinite(value)]
        return ", ".join(f"{name} {value:.2f}" if len(labels) > 1 else f"{value:.2f}" for name, value in known)
    return ", ".join(name for name, value in zip(labels, answer, strict=True) if value == 1) or "(none)"


def hashed_names(column: Any, language: str) -> NDArray[np.int64] | None:
    """A 64-bit hash of each name of a column of strings, the row's own where it has none; None where none has any.

    Equal in every file, so that rows of different languages find one another. What a row without a name gets no row
    of another `language` has.
    """
    if column.null_count == len(column):
        return None
    encoded = column.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if hasattr(encoded, "combine_chunks") else encoded
    hashes = _hashes([f"\x00{value}" for value in encoded.dictionary.to_pylist()])
    places = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
    own = _hashes([f"\x01{language}\x1f{row}" for row in np.flatnonzero(places < 0)])
    found = hashes[places]
    found[places < 0] = own
    return found


def _hashes(values: list[str]) -> NDArray[np.int64]:
    digests = b"".join(hashlib.blake2b(value.encode(), digest_size=8).digest() for value in values)
    return np.frombuffer(digests, "<i8").astype(np.int64)


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


def _answers(table: Any, name: str, path: Path) -> NDArray[Any]:
    """Class ids [B]; [B, L] integers with -1 for null, or numbers with NaN for null, where a row holds a list."""
    import pyarrow as pa

    kind = table.schema.field(name).type
    if not pa.types.is_list(kind):
        return _integers(table, name)
    if pa.types.is_floating(kind.value_type):
        return _matrix(table, path, name)
    column = table.column(name).combine_chunks()
    flat = column.flatten().fill_null(-1).to_numpy(zero_copy_only=False)
    return _rows(np.asarray(flat, dtype=np.int64), len(column), path, name)


def _matrix(table: Any, path: Path, name: str = "probabilities") -> NDArray[np.float64]:
    column = table.column(name).combine_chunks()
    flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    return _rows(flat, len(column), path, name)


def _rows(flat: NDArray[Any], rows: int, path: Path, name: str) -> NDArray[Any]:
    if rows and len(flat) % rows:
        raise UserError(f"{path} has rows with differing numbers of {name}", expected="one for each class")
    return flat.reshape(rows, len(flat) // rows if rows else 0)
