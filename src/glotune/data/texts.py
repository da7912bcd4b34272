"""Labelled texts: column-wise, one table per split, with the row of the file that each text came from."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from glotune.data.coded_columns import CODED, codes, distinct, strings_of
from glotune.data.csv_files import SwallowingRow
from glotune.run.record import DataSource
from glotune.stats.clusters import own_clusters

if TYPE_CHECKING:
    from glotune.data.code_switching import Dictionary

SPLITS = ("train", "validation", "test")

LANGUAGE_TYPE = CODED
"""Type of the column ``language``."""


@dataclass(frozen=True)
class SkippedRow:
    """A row that can't be used, and why."""

    path: str
    row: int
    """Row in the source file, 1 = the first data row."""
    reason: str
    language: str = ""
    """As its row says it; empty where no column does."""


@dataclass(frozen=True)
class LabelledTexts:
    """One split, all its languages, N rows.

    Columns of `table`: ``text`` string as in the file; ``text_pair`` string (only with pairs); ``label`` int16, the
    class id (of other tasks int32, a row of `TextData.targets`); ``language`` dictionary of strings; ``row`` int32, the
    row in the source file (1 = the first data row); ``source`` int16, an index into `TextData.sources`; ``key`` int64,
    a hash of the normalised text by which duplicates are found; ``weight`` float32 (training rows only, where the
    recipe names a column of weights); ``votes`` float32 [C], how many annotators voted for each class, or which share
    of them (where the recipe names columns of votes); ``id`` string, equal for rows that belong together (where the
    recipe names such a column).
    """

    table: pa.Table
    split: str

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def has_pairs(self) -> bool:
        """Whether each row is a pair of texts."""
        return "text_pair" in self.table.column_names

    @cached_property
    def labels(self) -> np.ndarray:
        """Class ids, [N] int16; of other tasks rows of `TextData.targets`, [N] int32."""
        return self.table["label"].to_numpy()

    @cached_property
    def weights(self) -> np.ndarray | None:
        """How much each row counts, [N] float32 above 0; None: all alike. Training rows count so in the loss, others,
        which have weights with ``data.weighted_metrics`` alone, in metrics."""
        return self.table["weight"].to_numpy() if "weight" in self.table.column_names else None

    @cached_property
    def votes(self) -> np.ndarray | None:
        """Votes for each class, [N, C] float32; None: without votes. Rows of zeros: texts without a label."""
        if "votes" not in self.table.column_names:
            return None
        column = self.table["votes"].combine_chunks()
        flat: np.ndarray = column.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(self), -1)

    @property
    def shares(self) -> np.ndarray | None:
        """Each class's share of a text's votes, [N, C] float32; None: without votes."""
        if self.votes is None:
            return None
        total = self.votes.sum(axis=1, keepdims=True)
        return np.divide(self.votes, total, out=np.zeros_like(self.votes), where=total > 0)

    @cached_property
    def rows(self) -> np.ndarray:
        """Rows in the source files, [N] int32."""
        return self.table["row"].to_numpy()

    @cached_property
    def keys(self) -> np.ndarray:
        """Hashes of the normalised texts, [N] int64."""
        return self.table["key"].to_numpy()

    @cached_property
    def groups(self) -> np.ndarray:
        """Equal for rows that belong together, see `belonging`, [N] int64."""
        return belonging(self.table)

    @cached_property
    def first_rows(self) -> np.ndarray:
        """The first row of this split with the same text, for each row, [N] integers."""
        return first_rows(self.keys)

    @cached_property
    def language_names(self) -> list[str]:
        """The languages of this split, sorted."""
        return distinct(self.table["language"])

    @cached_property
    def language_ids(self) -> np.ndarray:
        """Indices into `language_names`, [N] int16."""
        return codes(self.table["language"], self.language_names).astype(np.int16)

    def rows_by_language(self) -> dict[str, int]:
        """Language -> its texts, in the order of `language_names`."""
        counts = np.bincount(self.language_ids, minlength=len(self.language_names))
        return dict(zip(self.language_names, counts.tolist(), strict=True))

    def places_in(self, languages: Collection[str]) -> np.ndarray:
        """Places of the texts in these languages, ascending, int64."""
        wanted = [code for code, name in enumerate(self.language_names) if name in languages]
        return np.flatnonzero(np.isin(self.language_ids, wanted))

    def places_by_language(self) -> dict[str, np.ndarray]:
        """Language -> places of its texts, ascending, int64."""
        return {name: self.places_in([name]) for name in self.language_names}

    def chunks(self, rows: int) -> Iterator[pa.RecordBatch]:
        """The rows in order, at most `rows` at a time."""
        yield from self.table.to_batches(max_chunksize=rows)


@dataclass(frozen=True)
class TextData:
    """Everything that a run reads: its splits, labels, files and the rows that could not be used."""

    splits: dict[str, LabelledTexts]
    """``train`` (source languages and few-shot rows), ``validation``, and ``test`` where there is one."""
    labels: list[str]
    """Label names in the order of the class ids, fixed here, once."""
    sources: list[DataSource]
    source_languages: list[str]
    data_hash: str
    """SHA-256 over the texts, labels and languages of all splits, as used."""
    warnings: list[str] = field(default_factory=list)
    skipped: list[SkippedRow] = field(default_factory=list)
    swallowing: list[SwallowingRow] = field(default_factory=list)
    """Rows that seem to have swallowed others by a stray quote."""
    named_validation: list[str] | None = None
    """Languages of the rows that ``data.validation`` names; None where it names none."""
    targets: np.ndarray | None = None
    """[K, L] float32: what the numbers in the column ``label`` stand for, NaN where nothing is annotated; None where
    they are class ids."""
    paraphrases: pa.ListArray | None = None
    """[N] lists of strings: what says each training text once more; None: nothing was brought."""
    dictionary: Dictionary | None = None
    """Translations of the words of the training texts; None: none were asked for."""


def first_rows(keys: np.ndarray) -> np.ndarray:
    """For each row the first row with the same key, [N] int64."""
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    return first[group]


def belonging(table: pa.Table) -> np.ndarray:
    """[N] int64, equal for rows that must not be parted: those with equal texts or an equal id, or linked by others.

    Args:
        table: with a column ``key``, and ``id`` where the recipe names such a column; rows without an id have null.
    """
    keys: np.ndarray = table["key"].to_numpy()
    if "id" not in table.column_names or table["id"].null_count == table.num_rows:
        return keys
    coded = table["id"].combine_chunks().dictionary_encode()
    ids = np.asarray(coded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
    alone = ids < 0
    ids[alone] = len(coded.dictionary) + np.arange(np.count_nonzero(alone))
    linked = own_clusters(keys, ids)
    return keys if linked is None else linked


def content_hash(splits: dict[str, LabelledTexts], labels: list[str], targets: np.ndarray | None = None) -> str:
    """SHA-256 over label names and, per split, texts, pairs, labels, weights, votes, languages and rows."""
    digest = hashlib.sha256("\x1f".join(labels).encode())
    if targets is not None:
        digest.update(targets.astype("<f4").tobytes())
    for name, split in splits.items():
        digest.update(f"\x1e{name}\x1f{len(split)}\x1f{int(split.has_pairs)}".encode())
        for numbers, kind in ((split.labels, "<i2" if targets is None else "<i4"), (split.rows, "<i4")):
            digest.update(numbers.astype(kind).tobytes())
        if split.weights is not None:
            digest.update(split.weights.astype("<f4").tobytes())
        if split.votes is not None:
            digest.update(split.votes.astype("<f4").tobytes())
        digest.update(strings_hash(strings_of(split.table["language"])))
        digest.update(text_hash(split))
    return digest.hexdigest()


def reworded_hash(data_hash: str, dictionary: Dictionary | None, paraphrases: pa.ListArray | None) -> str:
    """The hash of what a run reads with what its training texts may become; unchanged where they become nothing."""
    parts = [
        *([] if dictionary is None else [dictionary.digest]),
        *([] if paraphrases is None else [paraphrases_hash(paraphrases)]),
    ]
    return hashlib.sha256(b"".join([data_hash.encode(), *parts])).hexdigest() if parts else data_hash


def paraphrases_hash(paraphrases: pa.ListArray) -> bytes:
    """SHA-256 digest over all of them, and how many each row has."""
    counts = paraphrases.value_lengths().to_numpy(zero_copy_only=False).astype("<i4").tobytes()
    return hashlib.sha256(counts + strings_hash([paraphrases.flatten()])).digest()


def text_hash(split: LabelledTexts) -> bytes:
    """SHA-256 digest over the texts (and pairs) of a split, in order."""
    pairs = [split.table["text_pair"]] if split.has_pairs else []
    return hashlib.sha256(b"".join(strings_hash(column.chunks) for column in (split.table["text"], *pairs))).digest()


def strings_hash(parts: Iterable[pa.StringArray]) -> bytes:
    """SHA-256 digest of a column of strings, independent of how it is chunked; memory stays that of one chunk."""
    lengths, content = hashlib.sha256(), hashlib.sha256()
    for chunk in parts:
        lengths.update(pc.binary_length(chunk).to_numpy(zero_copy_only=False).astype("<i4").tobytes())
        content.update(_bytes_of(chunk))
    return lengths.digest() + content.digest()


def _bytes_of(chunk: pa.StringArray) -> memoryview:
    """The UTF-8 bytes of all strings of a chunk, without copying them."""
    _, offsets_buffer, data = chunk.buffers()
    if data is None or len(chunk) == 0:
        return memoryview(b"")
    offsets = np.frombuffer(offsets_buffer, np.int32)
    return memoryview(data)[int(offsets[chunk.offset]) : int(offsets[chunk.offset + len(chunk)])]
