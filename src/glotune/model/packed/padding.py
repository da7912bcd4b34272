"""A packed batch laid out with padding: for families that can't run packed, and to measure what padding costs."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from glotune.data.packed import PackedBatch
from glotune.model.families import Anatomy


def padded_inputs(anatomy: Anatomy, batch: PackedBatch) -> dict[str, Tensor]:
    """The arguments of the model's own forward: each [B, L], L being `pad_to` or the longest text."""
    count, longest = len(batch.lengths), batch.pad_to or max(batch.lengths)
    device = batch.input_ids.device
    lengths = batch.cu_seqlens.diff().long()
    texts_T = torch.repeat_interleave(torch.arange(count, device=device), lengths, output_size=batch.num_tokens)
    places_T = texts_T * longest + batch.position_ids

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
    if _takes_types(anatomy.core):
        inputs["token_type_ids"] = laid_out(batch.token_type_ids, 0)
    return inputs


def _takes_types(core: Any) -> bool:
    if getattr(core.config, "type_vocab_size", 0) < 2:
        return False
    return "token_type_ids" in inspect.signature(core.forward).parameters
