"""A packed batch laid out with padding: for families that can't run packed, and to measure what padding costs.

Where padding would change the answers, texts of one length run together and nothing is padded.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glotune.data.batches import PackedBatch, sent
from glotune.model.families import Anatomy
from glotune.model.packed.packing import places_of

TYPED = ("funnel", "xlnet")
"""Families with token types whose configuration has no ``type_vocab_size``."""


def padded_logits(anatomy: Anatomy, hf: Any, batch: PackedBatch) -> Tensor:
    """Logits_BC of the model's own forward."""
    if not anatomy.family.mixes_padding:
        return _logits(anatomy, hf, batch)
    places, logits = zip(*((rows, _logits(anatomy, hf, part)) for rows, part in _by_length(batch)), strict=True)
    order = sent(torch.from_numpy(np.argsort(np.concatenate(places))), batch.input_ids.device)
    return torch.cat(logits).index_select(0, order)


def _logits(anatomy: Anatomy, hf: Any, batch: PackedBatch) -> Tensor:
    with moved(anatomy, None if batch.noise_TE is None else _laid_out(batch, batch.noise_TE)):
        return hf(**padded_inputs(anatomy, batch)).logits


@contextmanager
def moved(anatomy: Anatomy, noise: Tensor | None) -> Iterator[None]:
    """Adds noise, in the shape of a look-up's output, to the word embeddings; None: nothing."""
    if noise is None:
        yield
        return
    hook = anatomy.word_embeddings.register_forward_hook(lambda module, inputs, found: found + noise)
    try:
        yield
    finally:
        hook.remove()


def _laid_out(batch: PackedBatch, values_TE: Tensor) -> Tensor:
    """[B, L, E], zeros where there is padding."""
    places_T, longest = _places(batch)
    grid = values_TE.new_zeros(len(batch.lengths) * longest, values_TE.shape[1])
    return grid.index_copy(0, places_T, values_TE).view(len(batch.lengths), longest, -1)


def _places(batch: PackedBatch) -> tuple[Tensor, int]:
    """Where each token stands in the rows of the padded texts, laid end to end, and how long a row is."""
    longest = batch.pad_to or max(batch.lengths)
    texts_T, within_T = places_of(batch.cu_seqlens, batch.num_tokens)
    return texts_T * longest + within_T, longest


def _by_length(batch: PackedBatch) -> Iterator[tuple[NDArray[np.int64], PackedBatch]]:
    """(their places in the batch, texts of one length), for each length."""
    lengths = np.array(batch.lengths)
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        yield places, _taken(batch, places, int(length))


def _taken(batch: PackedBatch, places: NDArray[np.int64], length: int) -> PackedBatch:
    """The texts at `places` of the batch, all of them `length` tokens long."""
    device = batch.input_ids.device
    texts_B = sent(torch.from_numpy(places), device)
    starts_B = batch.cu_seqlens.long().index_select(0, texts_B)
    tokens_T = (starts_B.unsqueeze(1) + torch.arange(length, device=device)).flatten()
    return replace(
        batch,
        input_ids=batch.input_ids.index_select(0, tokens_T),
        position_ids=batch.position_ids.index_select(0, tokens_T),
        token_type_ids=batch.token_type_ids.index_select(0, tokens_T),
        noise_TE=None if batch.noise_TE is None else batch.noise_TE.index_select(0, tokens_T),
        cu_seqlens=torch.arange(len(places) + 1, device=device, dtype=torch.int32) * length,
        targets={},  # the model's own forward looks at none of these
        lengths=(length,) * len(places),
        rows=batch.rows[:0],
        windows_BM=None,
        pad_to=None,
    )


def padded_inputs(anatomy: Anatomy, batch: PackedBatch) -> dict[str, Tensor]:
    """The arguments of the model's own forward: each [B, L], L being `pad_to` or the longest text."""
    count, device = len(batch.lengths), batch.input_ids.device
    places_T, longest = _places(batch)

    def laid_out(values_T: Tensor, fill: int) -> Tensor:
        grid = torch.full((count * longest,), fill, dtype=torch.long, device=device)
        return grid.index_copy_(0, places_T, values_T.long()).view(count, longest)

    # The row of the embedding matrix that stands for padding, which trimming may have moved.
    pad_row = anatomy.word_embeddings.padding_idx
    inputs = {
        "input_ids": laid_out(batch.input_ids, anatomy.config.pad_token_id or 0 if pad_row is None else pad_row),
        "attention_mask": laid_out(torch.ones_like(batch.input_ids), 0),
    }
    if anatomy.family.positions_after_padding:
        inputs["position_ids"] = laid_out(
            batch.position_ids + anatomy.config.pad_token_id + 1, anatomy.config.pad_token_id
        )
    if takes_types(anatomy.core):
        inputs["token_type_ids"] = laid_out(batch.token_type_ids, 0)
    return inputs


def takes_types(core: Any) -> bool:
    """Whether token types are part of the input of a sequence classification model."""
    if getattr(core.config, "type_vocab_size", 0) < 2 and core.config.model_type not in TYPED:
        return False
    return "token_type_ids" in inspect.signature(core.forward).parameters
