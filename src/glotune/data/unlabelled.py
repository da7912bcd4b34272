"""Texts without labels that a run learns from a model's answers: read as the labelled ones are, joined below them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from glotune.data.checks import refuse_unfit_languages
from glotune.data.coded_columns import constant, strings_of
from glotune.data.csv_files import about_swallowed
from glotune.data.near_duplicates import near_copies
from glotune.data.plain_text import about_skipped, apart, read_lines
from glotune.data.selection import select
from glotune.data.source_table import load_source, text_keys
from glotune.data.sources import Source, find_sources
from glotune.data.streams import refuse_stream_names
from glotune.data.texts import LANGUAGE_TYPE, LabelledTexts, TextData, strings_hash, text_hash
from glotune.errors import UserError
from glotune.recipe.data_keys import Sources
from glotune.recipe.schema import Data
from glotune.run.record import DataSource

UNLABELLED = -100
"""Class id of a text without a label: torch's cross-entropy leaves it out (``ignore_index``)."""
SHOWN = 10
"""Rows that a message names."""
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


def read_unlabelled(named: Sources, data: Data, key: str) -> UnlabelledTexts:
    """Reads the texts that a key of the recipe names, as ``data`` names columns and splits; labels stay unread.

    Of files that say their split, the training rows are read.

    Raises:
        UserError: a file that can't be read, lacks the column of texts or holds no text, or an unknown language.
    """
    reader = _Reader(data)
    lines, tables = apart(unlabelled_sources(named, data, key, reader.warnings.append))
    parts = [*map(reader.lines, lines), *map(reader.rows, tables)]
    table = pa.concat_tables(parts).unify_dictionaries()
    if not table.num_rows:
        raise UserError(
            f"no row belongs to the training split; the files say {', '.join(sorted(reader.splits))}",
            where=key,
            expected="rows to train on, in one of the files at least",
            remedy="Name files without a split column, or name their splits in data.split_names",
        )
    texts = LabelledTexts(table, "train")
    refuse_unfit_languages(texts.language_names)
    return UnlabelledTexts(texts, reader.sources, reader.warnings)


def unlabelled_sources(
    named: Sources, data: Data, key: str, on_note: Callable[[str], None] | None = None
) -> list[Source]:
    """The files and data sets of texts without labels that a key names; raises as `find_sources`, and for pipes."""
    refuse_stream_names(named, key, "a run that learns from texts without labels")
    # A line holds no pair.
    return find_sources(named, key, data.split_names, on_note, lines=data.columns.text_pair is None)


class _Reader:
    """Reads source after source, and gathers fingerprints and warnings."""

    def __init__(self, data: Data) -> None:
        unread = {"label": _NO_LABELS, "labels": None, "delimiter": None, "votes": None}
        columns = data.columns.unweighted().model_copy(update=unread)
        self.data = data.model_copy(update={"columns": columns})
        self.sources: list[DataSource] = []
        self.warnings: list[str] = []
        self.splits: Counter[str] = Counter()
        """Rows of each split that a file names."""

    def lines(self, source: Source) -> pa.Table:
        """A file of a text a line."""
        table, record = read_lines(source)
        rows = pa.array(np.arange(1, len(table) + 1, dtype=np.int32))
        keys = [text_keys(batch, self.data.normalization) for batch in table.select(["text"]).to_batches()]
        languages = constant(table["language"][0].as_py(), [len(table)])
        columns = {"text": table["text"], "language": languages, "row": rows, "key": pa.chunked_array(keys, pa.int64())}
        is_meant = source.split is None or source.split in self.data.split_names.train
        self.splits.update({source.split: len(table)} if source.split is not None else {})
        return self._finished(pa.table(columns).slice(0, None if is_meant else 0), record)

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
    """The same texts with the unlabelled ones below those of the training split; they weigh 1 each.

    Of several labels and scores theirs is one more target, at which nothing is annotated.
    """
    more = unlabelled.texts.table
    if texts.targets is not None:
        nothing = np.full((1, texts.targets.shape[1]), np.nan, np.float32)
        target = pa.array(np.full(len(more), len(texts.targets), np.int32))
        more = more.set_column(more.column_names.index("label"), "label", target)
        texts = replace(texts, targets=np.concatenate([texts.targets, nothing]))
    if "votes" in texts.splits["train"].table.column_names:
        more = more.append_column("votes", _votes(np.zeros((len(more), len(texts.labels)), np.float32)))
    return _joined(texts, more, unlabelled.sources)


def with_pseudo_labels(
    texts: TextData, unlabelled: UnlabelledTexts, rows: NDArray[np.int64], shares_SC: NDArray[np.float32], *, soft: bool
) -> TextData:
    """The same texts with those at `rows` of the unlabelled ones below the training split, labelled; they weigh 1 each.

    Args:
        shares_SC: the probabilities of their classes; the label is the most probable one.
        soft: learn the probabilities, as votes are; a text with a label of its own then has one vote, for that. False:
            learn the labels.
    """
    labels_S = shares_SC.argmax(axis=1).astype(np.int16)
    more = unlabelled.texts.table.take(pa.array(rows))
    more = more.set_column(more.column_names.index("label"), "label", pa.array(labels_S))
    train = texts.splits["train"]
    if soft or train.votes is not None:
        votes_SC = shares_SC if soft else np.eye(len(texts.labels), dtype=np.float32)[labels_S]
        more = more.append_column("votes", _votes(votes_SC))
    if soft and train.votes is None:
        own = train.table.append_column("votes", _votes(np.eye(len(texts.labels), dtype=np.float32)[train.labels]))
        texts = replace(texts, splits={**texts.splits, "train": LabelledTexts(own, "train")})
    return _joined(texts, more, unlabelled.sources)


def _joined(texts: TextData, more: pa.Table, sources: list[DataSource]) -> TextData:
    """`more` below the training split, with the sources that its rows point at below the others."""
    train = texts.splits["train"].table
    shifted = pa.array(more["source"].to_numpy() + np.int16(len(texts.sources)))
    more = more.set_column(more.column_names.index("source"), "source", shifted)
    if "weight" in train.column_names:
        more = more.append_column("weight", pa.array(np.ones(len(more), np.float32)))
    if "id" in train.column_names:
        more = more.append_column("id", pa.nulls(len(more), pa.string()))
    joined = pa.concat_tables([train, more.select(train.column_names).cast(train.schema)]).unify_dictionaries()
    return replace(
        texts,
        splits={**texts.splits, "train": LabelledTexts(joined, "train")},
        sources=[*texts.sources, *sources],
    )


def _votes(votes_NC: NDArray[np.float32]) -> pa.Array:
    """[N, C] as a column."""
    flat = pa.array(np.ascontiguousarray(votes_NC, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, votes_NC.shape[1])


def seen_in_evaluation(texts: TextData, unlabelled: UnlabelledTexts, key: str) -> list[str]:
    """A warning for each held-out split that the unlabelled texts hold texts of."""
    found = {
        split: int(np.isin(held.keys, unlabelled.texts.keys).sum())
        for split, held in texts.splits.items()
        if split != "train"
    }
    return [
        f"{number} of {len(texts.splits[split])} {split} texts stand among the unlabelled texts of {key} too: the "
        "student sees a teacher's answers to them"
        for split, number in found.items()
        if number
    ]


def without_held_out(texts: TextData, unlabelled: UnlabelledTexts, key: str) -> UnlabelledTexts:
    """The unlabelled texts without near copies of validation and test texts, which are counted in a warning.

    Texts of both that are equal, whatever their language, are no accident: those are refused. Near copies (as
    ``glotune data`` finds them) come with any corpus, and training on them would flatter the scores all the same.

    Raises:
        UserError: a text that is validated or tested on, or nothing that is left.
    """
    held = {split: each for split, each in texts.splits.items() if split != "train"}
    for split, each in held.items():
        _refuse_copies(each, split, unlabelled, key)
    columns = [each.table["text"] for each in held.values()]
    known = [text for column in columns for text in column.to_pylist()]
    near = near_copies(known, unlabelled.texts.table["text"].to_pylist())
    if not near.any():
        return unlabelled
    if near.all():
        raise UserError(
            f"all {len(near):,} texts are near copies of validation or test texts",
            where=key,
            expected="texts of the language that the run is not judged by",
        )
    message = (
        f"{int(near.sum()):,} of {len(near):,} texts of {key} are near copies of validation or test texts: they are "
        "not learned from"
    )
    kept = LabelledTexts(unlabelled.texts.table.filter(pa.array(~near)), "train")
    return replace(unlabelled, texts=kept, warnings=[*unlabelled.warnings, message])


def _refuse_copies(held: LabelledTexts, split: str, unlabelled: UnlabelledTexts, key: str) -> None:
    same = np.isin(unlabelled.texts.keys, held.keys)
    if not same.any():
        return
    found = unlabelled.texts.table.filter(pa.array(same)).select(["row", "source", "language"]).to_pylist()
    first = found[0]
    rows = [each["row"] for each in found if each["source"] == first["source"]]
    shown = ", ".join(map(str, rows[:SHOWN])) + (", …" if len(rows) > SHOWN else "")
    file = unlabelled.sources[first["source"]].path
    raise UserError(
        f"{int(same.sum()):,} of {len(same):,} unlabelled texts are {split} texts (row{'s' * (len(rows) > 1)} {shown} "
        f"of {file}): learning from them would flatter the scores",
        where=f"{key}.{first['language']}",
        expected="texts that the run is not judged by",
        remedy=f"Take the texts of data.{split} out",
    )
