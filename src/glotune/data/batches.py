"""Which texts make one optimizer step, and how a step is cut into micro-batches.

The effective batch is a plain seeded shuffle's and knows nothing of lengths or devices; only its cut does. So the
same seed trains on the same batches whatever the machine, and the cut can't change the update (contract C2). A
micro-batch is a `PackedBatch`: texts laid end to end, without padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glotune.data.tokenization import TokenStore
from glotune.recipe.data_keys import Pool

Rows = NDArray[np.int64]
Batching = Literal["packed", "dynamic", "fixed"]


def epoch_order(languages: NDArray[np.int16], seed: int, epoch: int, sampling_alpha: float | None) -> Rows:
    """The order of one epoch's texts: a function of (seed, epoch) alone.

    Args:
        languages: [N] language of every training text.
        sampling_alpha: None visits every text once. Otherwise language l gets a share of the N visits
            proportional to ``n_l ** alpha`` (Conneau & Lample 2019, arXiv:1901.07291, section 3.1): whole rounds
            over its texts, then a part of one without repetition.
    """
    # Seeded from (seed, epoch), not drawn on from the epoch before: a resume needs no generator state (C6).
    generator = np.random.default_rng([seed, epoch])
    count = len(languages)
    if sampling_alpha is None:
        return generator.permutation(count)
    codes, sizes = np.unique(languages, return_counts=True)
    drawn = [
        _rounds(np.flatnonzero(languages == code), visits, generator)
        for code, visits in zip(codes, _shares(sizes.astype(float) ** sampling_alpha, count), strict=True)
    ]
    return generator.permutation(np.concatenate(drawn))


def _shares(weights: NDArray[np.float64], total: int) -> list[int]:
    """Whole numbers proportional to `weights` that add up to `total` (largest remainders)."""
    exact = weights / weights.sum() * total
    whole = np.floor(exact).astype(int)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: total - whole.sum()]] += 1
    return [int(share) for share in whole]


def _rounds(rows: Rows, visits: int, generator: np.random.Generator) -> Rows:
    full, rest = divmod(visits, len(rows))
    return np.concatenate([np.tile(rows, full), generator.permutation(rows)[:rest]])


def effective_batches(order: Rows, batch_size: int) -> list[Rows]:
    """The order in pieces of `batch_size`; the last one may be smaller and is kept."""
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def shard(rows: Rows, lengths: NDArray[np.int64], rank: int, ranks: int) -> Rows:
    """This rank's part of an effective batch: every `ranks`-th text by length, so that tokens are balanced.

    A rank's part may be empty when the batch has fewer texts than there are ranks.
    """
    if ranks == 1:
        return rows
    # By length, every rank's i-th text is about as long as the others': none waits for a rank with the long texts.
    return by_length(rows, lengths)[rank::ranks]


def by_length(rows: Rows, lengths: NDArray[np.integer[Any]]) -> Rows:
    """The rows by the length of their texts, those of one length in their order."""
    return rows[np.argsort(lengths[rows], kind="stable")]


def cut(
    rows: Rows, lengths: NDArray[np.int64], token_budget: int, batching: Batching = "packed", max_length: int = 0
) -> Iterator[tuple[Rows, int | None]]:
    """Cuts texts into micro-batches of similar length that fit the budget.

    The budget counts tokens as the attention product sees them: texts times the longest of them (times
    `max_length` for ``fixed``). A text longer than the budget makes a micro-batch of its own.

    Args:
        lengths: tokens of each text as the attention product sees them: of several windows as many times the longest.

    Yields:
        The rows of a micro-batch, and the length to pad to (None for ``packed``).
    """
    if batching == "fixed":
        sequences = -(-lengths[rows] // max_length)
        yield from ((piece, max_length) for piece in _in_order(rows, sequences, max(1, token_budget // max_length)))
        return
    arranged = by_length(rows, lengths)
    start = 0
    for stop in range(1, len(arranged) + 1):
        is_last = stop == len(arranged)
        # Ascending: the next text would be the longest, and the attention product pads all others to it.
        if is_last or (stop + 1 - start) * int(lengths[arranged[stop]]) > token_budget:
            piece = arranged[start:stop]
            yield piece, (int(lengths[piece[-1]]) if batching == "dynamic" else None)
            start = stop


def _in_order(rows: Rows, sequences: NDArray[np.int64], most: int) -> Iterator[Rows]:
    """The rows in pieces of at most `most` sequences, or of one text that has more."""
    start = held = 0
    for stop, count in enumerate(sequences.tolist()):
        if held and held + count > most:
            yield rows[start:stop]
            start, held = stop, 0
        held += count
    if held:
        yield rows[start:]


IdMap = Callable[[NDArray[np.int32]], NDArray[np.int32]]
"""Maps the tokenizer's ids to the rows of the (trimmed) embedding matrix."""
TENSORS = ("input_ids", "position_ids", "token_type_ids", "cu_seqlens", "hidden_TH", "windows_BM")
"""Fields of a `PackedBatch` that go to the device, beside its targets."""


@dataclass(frozen=True)
class PackedBatch:
    """S sequences of T tokens in all; sequence s occupies tokens ``cu_seqlens[s]`` to ``cu_seqlens[s + 1]``.

    A sequence is a text, or one of its windows; no sequence sees another. B texts.
    """

    input_ids: Tensor
    """[T] int64"""
    position_ids: Tensor
    """[T] int64, from 0 within each sequence; a family's offset is the model's business. Where a family counts no token
    of padding, one that stands in a text is at -1 and those behind it are one nearer."""
    token_type_ids: Tensor
    """[T] int64"""
    cu_seqlens: Tensor
    """[S + 1] int32"""
    lengths: tuple[int, ...]
    """Lengths of the S sequences on the host, so that no step waits for the device."""
    rows: NDArray[np.int64]
    """[B] indices into the token store; of a batch that was `filled`, those of its real texts."""
    pad_to: int | None = None
    """None: packed. Otherwise every text is padded to this length (``batching: dynamic | fixed``)."""
    hidden_TH: Tensor | None = None
    """[T, H] float32, the output of the frozen prefix, where it is cached: the network starts after it."""
    twin: PackedBatch | None = None
    """The same texts as a second view reads them, where its pieces are others."""
    noise_TE: Tensor | None = None
    """[T, E] float32, on the device: added to the word embeddings; None: nothing is."""
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    """What the task adds for its loss, by names of its own; the network looks at none of it."""
    windows_BM: Tensor | None = None
    """[B, M] int64, which sequences are the windows of each text, -1 after its last; None: each text is one."""
    pool: Pool = "mean"
    """How the logits of a text's windows become those of the text."""

    def __len__(self) -> int:
        """B."""
        return len(self.lengths) if self.windows_BM is None else len(self.windows_BM)

    @property
    def num_tokens(self) -> int:
        """T, without padding."""
        return sum(self.lengths)

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same batch on `device`, copied without waiting where the host memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> PackedBatch:
        """The same batch in page-locked host memory; only where there is a GPU."""
        return self._each(Tensor.pin_memory)

    def copied(self) -> PackedBatch:
        """The same batch in memory of its own."""
        return self._each(torch.clone)

    def texts_T(self) -> Tensor:
        """[T] int64, on the batch's device: the text that each token belongs to."""
        lengths_B = self.cu_seqlens.diff().long()
        texts_B = torch.arange(len(self.lengths), device=lengths_B.device)
        return torch.repeat_interleave(texts_B, lengths_B, output_size=self.num_tokens)

    def tensors(self) -> list[Tensor]:
        """All that go to the device."""
        return [*self._own().values(), *self.targets.values()]

    def _own(self) -> dict[str, Any]:
        return {name: each for name in TENSORS if (each := getattr(self, name)) is not None}

    def _each(self, change: Callable[[Tensor], Tensor]) -> PackedBatch:
        own: dict[str, Any] = {name: change(each) for name, each in self._own().items()}
        twin = None if self.twin is None else self.twin._each(change)
        return replace(self, **own, twin=twin, targets={name: change(each) for name, each in self.targets.items()})


CAPACITIES = (256, 512, 1024, 2048)
"""Tokens of the shapes that batches are filled up to; beyond the last, whole multiples of it."""
LARGEST = CAPACITIES[-1]
NO_LABEL = -100
"""Class id of the dummy texts: cross-entropy leaves it out, and adds nothing to its gradient."""


def filled(batch: PackedBatch, capacities: Sequence[int] = CAPACITIES) -> PackedBatch:
    """The batch with dummy texts at its end, so that its tensors have one of few shapes: for devices that compile for
    each shape anew.

    Sequences are filled up to the next power of two, tokens to the next of the capacities or to a multiple of the last.
    The dummies are about equally long, so that none costs attention more than a text. Targets [B, …] get `NO_LABEL`
    where they are whole numbers, 0 where they are not. Where texts have windows there are then as many texts as
    sequences, all further ones of the first dummy.
    """
    sequences = 1 << len(batch.lengths).bit_length()  # one dummy at least
    dummies, more_texts = sequences - len(batch.lengths), sequences - len(batch)
    total = next((size for size in capacities if size >= batch.num_tokens + dummies), None)
    total = total or -(-(batch.num_tokens + dummies) // capacities[-1]) * capacities[-1]
    more = total - batch.num_tokens
    shorter, longer_ones = divmod(more, dummies)
    lengths = (shorter,) * (dummies - longer_ones) + (shorter + 1,) * longer_ones

    def longer(tensor: Tensor, count: int, value: float = 0) -> Tensor:
        return torch.cat([tensor, tensor.new_full((count, *tensor.shape[1:]), value)])

    targets = {
        name: longer(each, more_texts, 0 if each.is_floating_point() else NO_LABEL) if len(each) == len(batch) else each
        for name, each in batch.targets.items()
    }
    windows_BM = None if batch.windows_BM is None else longer(batch.windows_BM, more_texts, -1)
    if windows_BM is not None:
        windows_BM[len(batch) :, 0] = len(batch.lengths)
    return replace(
        batch,
        input_ids=longer(batch.input_ids, more, int(batch.input_ids[0])),  # a piece that the (trimmed) vocabulary has
        position_ids=longer(batch.position_ids, more),
        token_type_ids=longer(batch.token_type_ids, more),
        cu_seqlens=torch.cat([batch.cu_seqlens, batch.num_tokens + torch.tensor(lengths).cumsum(0).int()]),
        lengths=batch.lengths + lengths,
        hidden_TH=None if batch.hidden_TH is None else longer(batch.hidden_TH, more),
        twin=None if batch.twin is None else filled(batch.twin, capacities),
        targets=targets,
        windows_BM=windows_BM,
    )


def pooled(logits_SC: Tensor, windows_BM: Tensor | None, pool: Pool) -> Tensor:
    """Logits_BC of texts, from those of their windows, in fp32: the mean, or the largest of each class.

    Args:
        windows_BM: as `PackedBatch.windows_BM`; None: every text is one sequence, and nothing is changed.
    """
    if windows_BM is None:
        return logits_SC
    is_there_BM1 = (windows_BM >= 0).unsqueeze(-1)
    logits_BMC = logits_SC.float()[windows_BM.clamp(min=0)]
    if pool == "max":
        return logits_BMC.masked_fill(~is_there_BM1, -torch.inf).amax(dim=1)
    # Not times 0: what stands in an empty place is another text's, and may be no number.
    return logits_BMC.masked_fill(~is_there_BM1, 0.0).sum(dim=1) / is_there_BM1.sum(dim=1)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A host tensor on the device, without waiting for it: a GPU copies by itself, from page-locked memory."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def collate(
    store: TokenStore,
    rows: NDArray[np.int64],
    pad_to: int | None = None,
    id_map: IdMap | None = None,
    *,
    by_text: bool = False,
    uncounted: int | None = None,
) -> PackedBatch:
    """Packs the texts at `rows` of the store, in that order; windows by length.

    Args:
        pad_to: see `PackedBatch.pad_to`.
        id_map: applied to the token ids where the vocabulary was trimmed.
        by_text: windows stand in the order of the texts, too, as their tokens do in the store.
        uncounted: what takes no position of its own, as `Network.uncounted` says; None: every token does.
    """
    starts, lengths, windows = store.sequence_starts(rows), store.sequence_lengths(rows), store.windows
    windows_BM = None if windows is None else windows.places(rows)
    if windows_BM is not None and not by_text:
        # The attention product wants its sequences by length: a CPU would sort their tokens anew in every layer.
        order = np.argsort(lengths, kind="stable")
        starts, lengths = starts[order], lengths[order]
        windows_BM = np.where(windows_BM < 0, -1, np.argsort(order)[windows_BM])
    spans = list(zip(starts.tolist(), (starts + lengths).tolist(), strict=True))
    tokens = np.concatenate([store.tokens[start:stop] for start, stop in spans])
    cu_seqlens = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=cu_seqlens[1:])
    # Positions start again at 0 in each text, as if it stood alone: packed must equal padded (C1).
    positions = np.arange(len(tokens), dtype=np.int64) - np.repeat(cu_seqlens[:-1].astype(np.int64), lengths)
    ids = (tokens if id_map is None else id_map(tokens)).astype(np.int64)
    if uncounted is not None and (is_padding := ids == uncounted).any():  # a text that says "<pad>"
        passed = np.cumsum(is_padding)
        positions -= passed - np.repeat((passed - is_padding)[cu_seqlens[:-1]], lengths)
        positions[is_padding] = -1
    types = np.zeros(len(tokens), np.int64)
    if store.token_types is not None:
        types = np.concatenate([store.token_types[start:stop] for start, stop in spans]).astype(np.int64)
    return PackedBatch(
        input_ids=torch.from_numpy(ids),
        position_ids=torch.from_numpy(positions),
        token_type_ids=torch.from_numpy(types),
        cu_seqlens=torch.from_numpy(cu_seqlens),
        lengths=tuple(lengths.tolist()),
        rows=rows,
        pad_to=pad_to,
        windows_BM=None if windows_BM is None else torch.from_numpy(windows_BM),
        pool="mean" if windows is None else windows.pool,
    )
