"""Texts without labels that a run learns from a teacher's answers: read as the labelled ones are, joined below them."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from glotune.data.checks import refuse_unfit_languages
from glotune.data.coded_columns import constant, strings_of
from glotune.data.csv_files import about_swallowed
from glotune.data.plain_text import about_skipped, read_lines, split_named
from glotune.data.selection import select
from glotune.data.source_table import load_source, text_keys
from glotune.data.sources import Source, find_sources
from glotune.data.streams import refuse_stream_names
from glotune.data.texts import LANGUAGE_TYPE, LabelledTexts, TextData, strings_hash, text_hash
from glotune.errors import UserError
from glotune.recipe.data_keys import Sources
from glotune.recipe.schema import Data
from glotune.run.records import DataSource

UNLABELLED = -100
"""Class id of a text without a label: torch's cross-entropy leaves it out (``ignore_index``)."""
KEY = "distill.texts"
_NO_LABELS = "\x00no label"
"""No header holds this name: whatever labels a file has stay unread."""


@dataclass(frozen=True)
class UnlabelledTexts:
    """U texts, their files, and what was odd about them."""

    texts: LabelledTexts
    """Labels are `UNLABELLED`; ``source`` is an index into `sources`."""
    sources: list[DataSource]
    warnings: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def data_hash(self) -> str:
        """SHA-256 over texts (and pairs) and languages, in order."""
        languages = strings_hash(strings_of(self.texts.table["language"]))
        return hashlib.sha256(languages + text_hash(self.texts)).hexdigest()


def read_unlabelled(named: Sources, data: Data) -> UnlabelledTexts:
    """Reads the texts that ``distill.texts`` names, as ``data`` names columns and splits; labels stay unread.

    Of files that say their split, the training rows are read.

    Raises:
        UserError: a file that can't be read, lacks the column of texts or holds no text, or an unknown language.
    """
    refuse_stream_names(named, KEY, "a run with a teacher")
    reader = _Reader(data)
    if data.columns.text_pair is None:
        lines, rest = split_named(named)
    else:
        lines, rest = [], named  # a line holds no pair
    parts = [reader.lines(name, language) for name, language in lines]
    if rest:
        parts += [reader.rows(source) for source in find_sources(rest, KEY, data.split_names, reader.warnings.append)]
    table = pa.concat_tables(parts).unify_dictionaries()
    if not table.num_rows:
        raise UserError(
            f"no row belongs to the training split; the files say {', '.join(sorted(reader.splits))}",
            where=KEY,
            expected="rows to train on, in one of the files at least",
            remedy="Name files without a split column, or name their splits in data.split_names",
        )
    texts = LabelledTexts(table, "train")
    refuse_unfit_languages(texts.language_names)
    return UnlabelledTexts(texts, reader.sources, reader.warnings)


class _Reader:
    """Reads source after source, and gathers fingerprints and warnings."""

    def __init__(self, data: Data) -> None:
        columns = data.columns.unweighted().model_copy(update={"label": _NO_LABELS, "votes": None})
        self.data = data.model_copy(update={"columns": columns})
        self.sources: list[DataSource] = []
        self.warnings: list[str] = []
        self.splits: Counter[str] = Counter()
        """Rows of each split that a file names."""

    def lines(self, name: str, language: str | None) -> pa.Table:
        """A file of a text a line."""
        table, record = read_lines(name, KEY, language)
        rows = pa.array(np.arange(1, len(table) + 1, dtype=np.int32))
        keys = [text_keys(batch, self.data.normalization) for batch in table.select(["text"]).to_batches()]
        languages = constant(table["language"][0].as_py(), [len(table)])
        columns = {"text": table["text"], "language": languages, "row": rows, "key": pa.chunked_array(keys, pa.int64())}
        return self._finished(pa.table(columns), record)

    def rows(self, source: Source) -> pa.Table:
        """A table's file."""
        loaded = load_source(source, self.data, need_label=False)
        self.warnings += about_skipped(loaded.skipped, loaded.name) + about_swallowed(loaded.swallowing)
        chosen = select(source, loaded, len(self.sources), self.data)
        self.splits.update(chosen.split_counts())
        return self._finished(chosen.as_split(self.data.split_names.train), loaded.record)

    def _finished(self, table: pa.Table, record: DataSource) -> pa.Table:
        """With all columns of `LabelledTexts`, in one order."""
        count = table.num_rows
        columns = {
            "text": table["text"],
            **({"text_pair": table["text_pair"]} if "text_pair" in table.column_names else {}),
            "label": pa.array(np.full(count, UNLABELLED, np.int16)),
            "language": table["language"].cast(LANGUAGE_TYPE),
            "row": table["row"].cast(pa.int32()),
            "source": pa.array(np.full(count, len(self.sources), np.int16)),
            "key": table["key"],
        }
        self.sources.append(record)
        return pa.table(columns)


def with_unlabelled(texts: TextData, unlabelled: UnlabelledTexts) -> TextData:
    """The same texts with the unlabelled ones below those of the training split; they weigh 1 each."""
    train, more = texts.splits["train"].table, unlabelled.texts.table
    shifted = pa.array(unlabelled.texts.table["source"].to_numpy() + np.int16(len(texts.sources)))
    more = more.set_column(more.column_names.index("source"), "source", shifted)
    if "weight" in train.column_names:
        more = more.append_column("weight", pa.array(np.ones(len(more), np.float32)))
    if "votes" in train.column_names:
        size = train.schema.field("votes").type.list_size
        none = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(len(more) * size, np.float32)), size)
        more = more.append_column("votes", none)
    joined = pa.concat_tables([train, more.select(train.column_names).cast(train.schema)]).unify_dictionaries()
    return replace(
        texts,
        splits={**texts.splits, "train": LabelledTexts(joined, "train")},
        sources=[*texts.sources, *unlabelled.sources],
    )


def seen_in_evaluation(texts: TextData, unlabelled: UnlabelledTexts) -> list[str]:
    """A warning for each held-out split that the unlabelled texts hold texts of."""
    found = {
        split: int(np.isin(held.keys, unlabelled.texts.keys).sum())
        for split, held in texts.splits.items()
        if split != "train"
    }
    return [
        f"{number} of {len(texts.splits[split])} {split} texts stand among the unlabelled texts of {KEY} too: the "
        "student sees a teacher's answers to them"
        for split, number in found.items()
        if number
    ]
