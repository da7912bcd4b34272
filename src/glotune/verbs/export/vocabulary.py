"""The vocabulary of an export, cut for good to what some texts use: tokenizer and embedding rows together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glotune.data.encoding import Text
from glotune.data.kept_pieces import PieceUse, pieces_to_keep, smaller, verify
from glotune.data.opening import is_stream
from glotune.data.texts import TextData
from glotune.data.tokenization import CHUNK, fast_backend, inputs_of, untruncated
from glotune.errors import UserError, did_you_mean
from glotune.recipe.schema import Data
from glotune.verbs.export.record import Vocabulary
from glotune.verbs.predict_inputs import Inputs
from glotune.words import counted


@dataclass(frozen=True)
class CutVocabulary:
    """What is left of a tokenizer."""

    kept: NDArray[np.int64]
    """New id -> old id."""
    full: Any
    """The ``tokenizers.Tokenizer`` as it was."""
    record: Vocabulary


def cut_vocabulary(
    tokenizer: Any,
    special_ids: Sequence[int],
    own: TextData,
    data: Data,
    *,
    languages: Sequence[str],
    files: Sequence[str | Path],
) -> CutVocabulary:
    """Cuts a fast tokenizer, in place, to what these texts use and what other texts fall back to.

    Args:
        tokenizer: of transformers, with the run's Unicode form in it.
        special_ids: that must stay, used or not.
        own: the run's texts, all splits.
        data: of the run's recipe: columns and quoting of the files.
        languages: whose texts of the run count.
        files: further texts: lines, CSV, TSV, JSON lines or Parquet.

    Raises:
        UserError: a language that the run has no texts of, a file that can't be read, or only once, or a kind of
            tokenizer that can't be cut.
        RunError: the smaller tokenizer cuts one of these texts otherwise.
    """
    from tokenizers import Tokenizer

    _refuse_unknown(languages, own)
    _refuse_streams(files)
    backend = fast_backend(tokenizer)
    with untruncated(backend):
        full = Tokenizer.from_str(backend.to_str())
    use = PieceUse(full)
    for chunk in _texts(own, data, languages, files):
        use.add(chunk)
    if not use.num_texts:
        raise UserError("no text to cut the vocabulary to", expected="languages of the run, or files with texts")
    kept = pieces_to_keep(full, use.used, use.scripts, special_ids)
    small = smaller(full, kept)
    for chunk in _texts(own, data, languages, files):
        verify(full, small, kept, chunk)
    tokenizer._tokenizer = small
    only_used = np.setdiff1d(use.used, pieces_to_keep(full, [], use.scripts, special_ids))
    record = Vocabulary(
        languages=sorted(languages),
        files=[Path(each).name for each in files],
        texts=use.num_texts,
        pieces=len(kept),
        full_pieces=full.get_vocab_size(),
        own_piece_share=use.share_with_a_piece_of_their_own(only_used),
    )
    return CutVocabulary(kept, full, record)


def _refuse_streams(files: Sequence[str | Path]) -> None:
    for file in files:
        if str(file) == "-" or is_stream(Path(file)):
            raise UserError(
                f"{file} can be read only once",
                where="--texts",
                expected="a file: its texts are read to cut the vocabulary, and again to check the smaller tokenizer",
                remedy="Write them to a file first",
            )


def _texts(own: TextData, data: Data, languages: Sequence[str], files: Sequence[str | Path]) -> Iterator[list[Text]]:
    """The texts that count, some at a time."""
    for split in own.splits.values():
        rows = split.places_in(languages)
        for batch in split.table.take(rows).to_batches(max_chunksize=CHUNK) if len(rows) else ():
            yield inputs_of(batch)
    for file in files:
        waiting: list[Text] = []
        inputs = Inputs(
            str(file),
            text=data.columns.text,
            text_pair=data.columns.text_pair,
            skip_empty=True,
            quoting=data.quoting,
            is_fixed=True,
        )
        for row in inputs.rows():
            waiting.append(row.text)
            if len(waiting) == CHUNK:
                yield waiting
                waiting = []
        if waiting:
            yield waiting


def _refuse_unknown(languages: Sequence[str], own: TextData) -> None:
    known = sorted({name for split in own.splits.values() for name in split.language_names})
    for each in languages:
        if each not in known:
            raise UserError(
                f"the run has no texts in '{each}'",
                where="--languages",
                expected=f"some of its {counted(len(known), 'language')}: {', '.join(known)}",
                remedy=did_you_mean(each, known) or "Name files with texts of other languages with --texts",
            )
