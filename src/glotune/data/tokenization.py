"""Tokenizes each split once, to a memory-mapped store that is keyed by content.

Of a text that is too long the head is kept, or its head and its tail (Sun et al. 2019, arXiv:1905.05583), or it is read
in windows (`glotune.data.windows`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from glotune.data.cache import open_or_build
from glotune.data.cutting import Cutting
from glotune.data.texts import LabelledTexts, TextData, text_hash
from glotune.data.unicode_form import normalising
from glotune.data.windows import Reach, Windowing
from glotune.errors import UserError
from glotune.recipe.settings import TokenSettings

CHUNK = 2048
"""Texts per call of the tokenizer: enough to keep its threads busy, little enough that memory stays flat."""
TOGETHER = 1 << 20
"""Tokens that are looked at together where a run looks at all of them: there are far more of them than of texts."""

OnWarning = Callable[[str], None]
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class TokenStore:
    """One split, tokenized: N texts, T tokens in all. The token arrays are memory-mapped and read-only."""

    tokens: np.ndarray
    """[T] int32: special tokens included, truncated."""
    token_types: np.ndarray | None
    """[T] uint8 where the tokenizer gives them and they are not all 0, else None."""
    offsets: np.ndarray
    """[N+1] int64: text i is ``tokens[offsets[i]:offsets[i + 1]]``."""
    labels: np.ndarray
    """[N] int16 class ids; with `targets` [N] int32, rows of them."""
    languages: np.ndarray
    """[N] int16, indices into `language_names`."""
    language_names: list[str]
    rows: np.ndarray
    """[N] int32, rows in the source files."""
    raw_lengths: np.ndarray
    """[N] int32: tokens before truncation, special tokens included."""
    weights: np.ndarray | None = None
    """[N] float32, how much each text counts in the loss; None: all alike."""
    shares: np.ndarray | None = None
    """[N, C] float32, each class's share of a text's votes; None: without votes."""
    targets: np.ndarray | None = None
    """[K, L] float32: what `labels` stand for, see `TextData.targets`; None where they are class ids."""
    twin: TokenStore | None = None
    """The same texts once more, as a second view reads them; None: there is none, or it reads these."""
    epochs: tuple[TokenStore, ...] = ()
    """The same texts as each epoch of training reads them, where they are changed at random; none: as they are."""
    windows: Windowing | None = None
    """None: every text is one sequence."""

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens per text, [N] int64."""
        return np.diff(self.offsets)

    @cached_property
    def costs(self) -> np.ndarray:
        """[N] int64, tokens as the attention product sees them: windows of one text as long as the longest. Of two
        views of a text, which are held at once, the longer one counts."""
        own = self.lengths
        if self.windows is not None:
            counts = self.windows.counts.astype(np.int64)
            own = np.where(counts > 1, counts * self.windows.reach.max_length, self.lengths)
        return own if self.twin is None else np.maximum(own, self.twin.costs)

    @property
    def read_in_training(self) -> list[TokenStore]:
        """Every form in which training reads these texts: as each epoch and each view of it has them."""
        read = self.epochs or (self,)
        return [each for store in read for each in (store, store.twin) if each is not None]

    @property
    def left_out(self) -> np.ndarray:
        """[N] int64, tokens of each text that are not read."""
        again = 0 if self.windows is None else (self.windows.counts - 1) * self.windows.reach.overlap
        return np.asarray(self.raw_lengths - (self.lengths - again))

    def sequence_lengths(self, rows: np.ndarray) -> np.ndarray:
        """[S] int64, tokens of what stands by itself in these texts: the texts, or all their windows in turn."""
        lengths = self.lengths[rows]
        return lengths if self.windows is None else self.windows.lengths(rows, lengths)

    def sequence_starts(self, rows: np.ndarray) -> np.ndarray:
        """[S] int64, where each of them begins in `tokens`."""
        starts = self.offsets[rows]
        return starts if self.windows is None else self.windows.starts(rows, starts)

    def by_sequence(self) -> TokenStore:
        """A store in which every window is a text by itself; rows, labels and weights stay those of the texts."""
        if self.windows is None:
            return self
        counts, lengths = self.windows.counts, self.sequence_lengths(np.arange(len(self)))
        return replace(
            self,
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            labels=np.repeat(self.labels, counts),
            languages=np.repeat(self.languages, counts),
            rows=np.repeat(self.rows, counts),
            raw_lengths=np.repeat(self.raw_lengths, counts),
            weights=None if self.weights is None else np.repeat(self.weights, counts),
            shares=None if self.shares is None else np.repeat(self.shares, counts, axis=0),
            windows=None,
            twin=None,
            epochs=(),
        )

    def distinct_tokens(self) -> np.ndarray:
        """The token ids that the texts hold, as they are and as any epoch reads them, sorted, int32."""
        found = np.zeros(0, np.int32)
        for other in (*self.epochs, *([] if self.twin is None else [self.twin])):
            found = np.union1d(found, other.distinct_tokens())
        for start in range(0, len(self.tokens), TOGETHER):  # sorting all tokens at once would take a copy of them
            found = np.union1d(found, self.tokens[start : start + TOGETHER])
        return found


def tokenize(
    texts: TextData,
    tokenizer: Any,
    data: TokenSettings,
    cache: Path,
    *,
    on_warning: OnWarning | None = None,
    progress: OnProgress | None = None,
) -> dict[str, TokenStore]:
    """Tokenizes all splits, or opens what an earlier run tokenized alike.

    Args:
        texts: as read.
        tokenizer: a fast tokenizer of transformers; used as it is.
        data: the recipe's section: max_length, truncation, normalization.
        cache: folder of the cache.
        on_warning: called with a line for damaged or unwritable caches.
        progress: called with (texts done, texts in all).

    Raises:
        UserError: a tokenizer without a fast backend, `max_length` too short for its special tokens, a text without
            any token, or no place to write to.
    """
    backend = fast_backend(tokenizer)
    has_pairs = any(split.has_pairs for split in texts.splits.values())
    cutting = Cutting(Reach.of(data, tokenizer.num_special_tokens_to_add(pair=has_pairs)), data.truncation)
    uses_types = has_types(tokenizer, has_pairs)
    total, before = sum(len(split) for split in texts.splits.values()), 0
    stores = {}
    with untruncated(backend), normalising(backend, data.normalization):
        identity = identity_of(tokenizer, backend, data, uses_types)

        def encode(chunk: pa.RecordBatch, first: int) -> list[Any]:
            return list(backend.encode_batch_fast(inputs_of(chunk)))

        for name, split in texts.splits.items():
            report = _offset_progress(progress, before, total)
            key = hashlib.sha256(identity + text_hash(split)).hexdigest()[:40]
            write = partial(
                write_store, split=split, cutting=cutting, uses_types=uses_types, encode=encode, report=report
            )
            folder, _ = open_or_build(cache / "tokens", key, write, on_warning=on_warning)
            stores[name] = open_store(folder, split, texts, cutting.reach)
            before += len(split)
            report(len(split))
    return stores


def with_other_training_texts(
    stores: Mapping[str, TokenStore],
    texts: TextData,
    tokenizer: Any,
    data: TokenSettings,
    cache: Path,
    *,
    on_warning: OnWarning | None = None,
    progress: OnProgress | None = None,
) -> Mapping[str, TokenStore]:
    """The same stores, with the training split of `texts` in place of theirs."""
    train = replace(texts, splits={"train": texts.splits["train"]})
    return {**stores, **tokenize(train, tokenizer, data, cache, on_warning=on_warning, progress=progress)}


def inputs_of(chunk: pa.RecordBatch) -> list[Any]:
    """The texts of a chunk, or its pairs of texts, as a tokenizer takes them."""
    texts: list[Any] = chunk.column("text").to_pylist()
    if "text_pair" not in chunk.schema.names:
        return texts
    return list(zip(texts, chunk.column("text_pair").to_pylist(), strict=True))


def has_types(tokenizer: Any, pairs: bool) -> bool:
    """Whether token types differ: those of a pair, and in some families a special token (XLNet's last)."""
    if "token_type_ids" not in tokenizer.model_input_names:
        return False
    return pairs or any(fast_backend(tokenizer).encode("").type_ids)


def fast_backend(tokenizer: Any) -> Any:
    """The `tokenizers.Tokenizer` of a fast tokenizer; raises UserError for a slow one."""
    backend = getattr(tokenizer, "_tokenizer", None)
    if backend is None or not hasattr(backend, "encode_batch_fast"):
        raise UserError(
            f"the tokenizer {type(tokenizer).__name__} has no fast version",
            where="model.name",
            expected="a model with a tokenizer.json, or one that transformers can convert to it",
        )
    return backend


@contextmanager
def untruncated(backend: Any) -> Iterator[None]:
    """Switches the backend's own truncation and padding off for a while: they are state that others left there."""
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    try:
        yield
    finally:
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)


def identity_of(tokenizer: Any, backend: Any, data: TokenSettings, uses_types: bool) -> bytes:
    """All that the tokens depend on, besides the texts."""
    import tokenizers

    settings = [data.max_length, data.truncation, data.normalization, uses_types, tokenizers.__version__, CHUNK]
    settings += [] if data.windows is None else [data.windows.model_dump()]
    return hashlib.sha256(backend.to_str().encode() + json.dumps(settings).encode()).digest()


def _offset_progress(progress: OnProgress | None, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + done, total) if progress else None


Encode = Callable[[pa.RecordBatch, int], list[Any]]
"""(texts, the row of the first among those of the split) -> for each a `tokenizers.Encoding`, or what reads like it."""


def write_store(
    folder: Path,
    split: LabelledTexts,
    cutting: Cutting,
    uses_types: bool,
    encode: Encode,
    report: Callable[[int], None],
) -> None:
    """Writes the tokens of one split into a folder, a chunk of texts at a time."""
    _Writer(split, encode, cutting, uses_types, report).write(folder)


class _Writer:
    """Writes the tokens of one split into a folder, chunk by chunk."""

    def __init__(
        self, split: LabelledTexts, encode: Encode, cutting: Cutting, uses_types: bool, report: Callable[[int], None]
    ) -> None:
        self.split, self.encode, self.cutting, self.report = split, encode, cutting, report
        self.uses_types = uses_types

    def write(self, folder: Path) -> None:
        """tokens.bin, token_types.bin (where used), lengths.npy, raw_lengths.npy."""
        lengths, raw_lengths = np.zeros(len(self.split), np.int32), np.zeros(len(self.split), np.int32)
        done = 0
        with (folder / "tokens.bin").open("wb") as tokens, (folder / "token_types.bin").open("wb") as types:
            for chunk, encodings in self._encoded():
                ids, type_ids, raw, kept = self._cut(encodings)
                if not kept.all():
                    self._refuse_tokenless(chunk, kept)
                ids.tofile(tokens)
                if type_ids is not None:
                    type_ids.tofile(types)
                lengths[done : done + len(kept)], raw_lengths[done : done + len(kept)] = kept, raw
                done += len(kept)
                self.report(done)
        if not self.uses_types:
            (folder / "token_types.bin").unlink()
        np.save(folder / "lengths.npy", lengths)
        np.save(folder / "raw_lengths.npy", raw_lengths)

    def _encoded(self) -> Iterator[tuple[pa.RecordBatch, list[Any]]]:
        """Chunks with their encodings; the next chunk is tokenized (outside the interpreter's lock) meanwhile."""
        with ThreadPoolExecutor(1) as executor:
            waiting: tuple[pa.RecordBatch, Future[list[Any]]] | None = None
            first = 0
            for chunk in self.split.chunks(CHUNK):
                started = (chunk, executor.submit(self.encode, chunk, first))
                first += chunk.num_rows
                if waiting:
                    yield waiting[0], waiting[1].result()
                waiting = started
            if waiting:
                yield waiting[0], waiting[1].result()

    def _cut(self, encodings: list[Any]) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray]:
        """Token ids [t], token types [t] or None, raw lengths [n], lengths [n] of one chunk."""
        raw = np.fromiter(map(len, encodings), np.int32, len(encodings))
        is_long = raw > self.cutting.reach.max_length
        short = {i: self.cutting.cut(encodings[i]) for i in np.flatnonzero(is_long).tolist()}
        kept = raw.copy()
        kept[is_long] = [len(ids) for ids, _ in short.values()]
        total = int(kept.sum())
        ids = (short[i][0] if i in short else encoding.ids for i, encoding in enumerate(encodings))
        tokens = np.fromiter(chain.from_iterable(ids), np.int32, total)
        if not self.uses_types:
            return tokens, None, raw, kept
        types = (short[i][1] if i in short else encoding.type_ids for i, encoding in enumerate(encodings))
        return tokens, np.fromiter(chain.from_iterable(types), np.uint8, total), raw, kept

    def _refuse_tokenless(self, chunk: pa.RecordBatch, kept: np.ndarray) -> None:
        row = chunk.column("row")[int(np.argmin(kept))].as_py()
        raise UserError(
            f"the tokenizer makes no token of the {self.split.split} text in row {row}",
            expected="a text with content, or a tokenizer that adds special tokens",
        )


def open_store(folder: Path, split: LabelledTexts, texts: TextData, reach: Reach) -> TokenStore:
    """What `write_store` wrote of a split."""
    raw_lengths = np.load(folder / "raw_lengths.npy", mmap_mode="r")
    lengths = np.load(folder / "lengths.npy", mmap_mode="r")
    types = folder / "token_types.bin"
    return TokenStore(
        tokens=np.memmap(folder / "tokens.bin", np.int32, "r"),
        token_types=np.memmap(types, np.uint8, "r") if types.exists() else None,
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        labels=split.labels,
        languages=split.language_ids,
        language_names=split.language_names,
        rows=split.rows,
        raw_lengths=raw_lengths,
        weights=split.weights,
        shares=split.shares,
        targets=texts.targets,
        windows=None if reach.windows is None else Windowing(reach.counts(raw_lengths), reach),
    )
