"""One source, read whole: its usable rows as a table, the others counted and listed."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from glotune.data.coded_columns import distinct, encoded_names
from glotune.data.csv_files import CsvForm, SwallowingRow, read_csv
from glotune.data.hub import read_hub
from glotune.data.jsonl_files import read_jsonl
from glotune.data.opening import sha256_of
from glotune.data.parquet_files import read_parquet
from glotune.data.sources import Source, kind_of
from glotune.data.spelling import NOTHING_SEEN
from glotune.data.spilling import collect
from glotune.data.streams import on_disk
from glotune.data.texts import SkippedRow
from glotune.errors import UserError
from glotune.recipe.data_keys import Quoting
from glotune.recipe.schema import Columns, Data
from glotune.run.record import DataSource

_CODED = ("label", "language", "split")
_TESTED = ("data.validation", "data.test")
"""Keys whose files need the column by which rows belong together; training files may lack it."""


@dataclass(frozen=True)
class SourceTable:
    """Rows of one source: text, text_pair (with pairs), label, language, split, weight, id (where said), row, key."""

    source: Source
    record: DataSource
    table: pa.Table
    skipped: list[SkippedRow]
    swallowing: list[SwallowingRow]
    """Rows that seem to have swallowed others by a stray quote."""

    @property
    def name(self) -> str:
        """The source as the recipe names it."""
        return self.source.name

    def has(self, field: str) -> bool:
        """Whether the source says anything in this field."""
        return field in self.table.column_names

    def distinct(self, field: str) -> list[str]:
        """The values of a coded field, sorted."""
        return distinct(self.table[field])


def load_source(source: Source, data: Data, *, need_label: bool = True) -> SourceTable:
    """Reads one source.

    Rows with an empty text (or half of a pair) or without a label are left out and listed in `skipped`.

    Args:
        source: as the recipe names it.
        data: the recipe's section.
        need_label: False for texts that have the label of another row, or none: they have its weight too.

    Raises:
        UserError: the source can't be read, or none of its rows can be used.
    """
    weighs = need_label and (source.trains or data.weighted_metrics)
    columns = data.columns if weighs else data.columns.unweighted()
    swallowing: list[SwallowingRow] = []
    if source.kind == "hub":
        return _loaded(source, data, need_label, swallowing, *read_hub(source.name, columns, need_label=need_label))
    with on_disk(source.path, source.name) as path:
        opened = _open(path, source.name, columns, data.quoting, need_label, swallowing)
        return _loaded(source, data, need_label, swallowing, *opened)


def _loaded(
    source: Source,
    data: Data,
    need_label: bool,
    swallowing: list[SwallowingRow],
    fingerprint: str,
    batches: Iterator[pa.RecordBatch],
) -> SourceTable:
    skipped: list[SkippedRow] = []
    first = next(batches, None)
    if first is None:
        raise UserError(
            f"{source.name} holds a header and no data rows", where=source.key, expected="at least one data row"
        )
    usable = (_usable(batch, source.name, skipped, data.normalization) for batch in chain([first], batches))
    table = collect(usable)
    rows = table.num_rows + len(skipped)
    if not table.num_rows:
        reasons = sorted({row.reason for row in skipped})
        label = "label" if data.columns.labels is None else "labels"
        needed = ["text", *(["text_pair"] if data.columns.text_pair else []), *([label] if need_label else [])]
        raise UserError(
            f"none of the {rows} rows of {source.name} can be used ({', '.join(reasons)})",
            where=source.key,
            expected="something in " + " and ".join(needed),
            remedy="Check " + " and ".join(f"data.columns.{field}" for field in needed),
        )
    for field in ("language", "split"):
        if field in table.column_names and distinct(table[field]) == [""]:
            table = table.drop_columns([field])
    if "id" in table.column_names and table["id"].null_count == table.num_rows:
        table = table.drop_columns(["id"])
    if data.columns.id is not None and "id" not in table.column_names:
        if source.key.startswith(_TESTED):
            raise UserError(
                f"{source.name} has no column '{data.columns.id}', or nothing in it",
                where=source.key,
                expected="the column that data.columns.id names: which rows belong together",
                remedy="Set data.columns.id to the right one, or to null",
            )
        table = table.append_column("id", pa.nulls(table.num_rows, pa.string()))
    return SourceTable(source, DataSource(path=source.name, sha256=fingerprint, rows=rows), table, skipped, swallowing)


def _open(
    path: Path, name: str, columns: Columns, quoting: Quoting, need_label: bool, swallowing: list[SwallowingRow]
) -> tuple[str, Iterator[pa.RecordBatch]]:
    fingerprint, kind = sha256_of(path, name), kind_of(path)
    if kind == "jsonl":
        return fingerprint, read_jsonl(path, name, columns, need_label=need_label)
    if kind == "parquet":
        return fingerprint, read_parquet(path, name, columns, need_label=need_label)
    form = CsvForm("\t" if kind == "tsv" else ",", quoting)
    return fingerprint, read_csv(path, name, columns, form, need_label=need_label, swallowing=swallowing)


def _usable(batch: pa.RecordBatch, path: str, skipped: list[SkippedRow], normalization: str) -> pa.RecordBatch:
    """The rows with text and label, coded columns as dictionaries, with the key of each text."""
    fields = {name: pc.fill_null(batch.column(name), "") for name in batch.schema.names if name != "row"}
    row = batch.column("row")
    reason = np.zeros(batch.num_rows, np.int8)
    reasons = ("", "empty text", "empty text_pair", "no label")
    columns = {name: encoded_names(values) if name in _CODED else values for name, values in fields.items()}
    for code, field in enumerate(("text", "text_pair", "label"), 1):
        if field in columns:
            empty = _is_blank(columns[field].cast(pa.string())).to_numpy(zero_copy_only=False)
            reason[(reason == 0) & empty] = code
    if reason.any():
        rows = row.to_numpy()
        said = fields.get("language")
        skipped += [
            SkippedRow(path, int(rows[i]), reasons[reason[i]], "" if said is None else said[int(i)].as_py())
            for i in np.flatnonzero(reason)
        ]
    if "weight" in fields:
        columns["weight"] = _weights(fields["weight"], row, path)
    if "id" in fields:
        columns["id"] = pc.if_else(_is_blank(fields["id"]), None, fields["id"])
    kept = pa.RecordBatch.from_pydict({**columns, "row": row})
    kept = kept.filter(pa.array(reason == 0)) if reason.any() else kept
    return kept.append_column("key", text_keys(kept, normalization))


def _is_blank(values: pa.StringArray) -> pa.BooleanArray:
    """Which of them show nothing."""
    return pc.equal(pc.utf8_trim(values, characters=NOTHING_SEEN), "")


def _weights(values: pa.StringArray, row: pa.Array, path: str) -> pa.FloatArray:
    """Row weights as numbers, null where there is none; whether they are fit to train with is asked later."""
    try:
        return pc.if_else(pc.equal(values, ""), None, values).cast(pa.float32())
    except pa.ArrowInvalid:
        place = next(place for place, value in enumerate(values.to_pylist()) if value and not _is_number(value))
    raise UserError(
        f"the weight '{values[place].as_py()[:80]}' is no number",
        where=f"{path}, row {row[place].as_py()}",
        expected="a number above 0 in the column that data.columns.weight names",
    )


def _is_number(value: str) -> bool:
    try:
        pa.scalar(value).cast(pa.float32())
    except pa.ArrowInvalid:
        return False
    return True


def text_keys(batch: pa.RecordBatch, normalization: str) -> pa.Int64Array:
    """A 64-bit hash per row: equal for texts (pairs) that are the same after normalisation, outer blanks cut."""
    texts = _normalised(batch.column("text"), normalization)
    if "text_pair" in batch.schema.names:
        pairs = _normalised(batch.column("text_pair"), normalization)
        texts = [f"{text}\x1f{pair}" for text, pair in zip(texts, pairs, strict=True)]
    digests = b"".join([hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts])
    return pa.array(np.frombuffer(digests, "<i8").astype(np.int64))


def _normalised(texts: pa.Array, normalization: str) -> list[str]:
    return [text.strip() for text in normalised(texts, normalization)]


def normalised(texts: pa.Array, normalization: str) -> list[str]:
    """Each text in the form that the recipe names.

    By Python, not by Arrow: ``pyarrow.compute.utf8_normalize`` of pyarrow 25 decomposes where NFC asks to compose.
    """
    return [normalise(text, normalization) for text in texts.to_pylist()]


def normalise(text: str, normalization: str) -> str:
    """`text` in the Unicode form that the recipe names: ``NFC``, ``NFKC`` or ``none``."""
    if normalization == "none":
        return text
    return unicodedata.normalize("NFC" if normalization == "NFC" else "NFKC", text)
