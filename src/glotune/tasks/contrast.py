"""Sentence-level contrast between a text and its translation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from glotune.model.packed.packing import mean_by_text

Pooling = Literal["first", "mean", "both"]


def info_nce(left_BH: Tensor, right_BH: Tensor, temperature: float, alike_BB: Tensor | None = None) -> Tensor:
    """InfoNCE both ways over the pairs of a batch (van den Oord et al. 2018, arXiv:1807.03748, eq. 4).

    Mean of the two directions, as in Feng et al. 2022 (LaBSE, arXiv:2007.01852, eq. 2, without a margin): the
    translation must be nearer to its text, by cosine, than every other translation of the batch, and the reverse.

    Args:
        left_BH, right_BH: texts and their translations, in any length.
        temperature: divides the cosines.
        alike_BB: [B, B] bool; True where text i and translation j != i mean the same (the same translation stands
            in the batch twice), so that it is no wrong answer. None: nowhere.
    """
    scores_BB = cosines(left_BH, right_BH) / temperature
    if alike_BB is not None:
        scores_BB = scores_BB.masked_fill(alike_BB, -torch.inf)
    targets_B = torch.arange(len(scores_BB), device=scores_BB.device)
    forth = functional.cross_entropy(scores_BB, targets_B)
    return (forth + functional.cross_entropy(scores_BB.T, targets_B)) / 2


def cosines(left_BH: Tensor, right_BH: Tensor) -> Tensor:
    """[B, B] cosine of every text with every translation, in fp32."""
    left, right = functional.normalize(left_BH.float(), dim=1), functional.normalize(right_BH.float(), dim=1)
    return left @ right.T


def hits_at_1(left_BH: Tensor, right_BH: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the nearest candidate is the right one: [B] bool for text -> translation, and for the way back."""
    scores_BB = cosines(left_BH, right_BH)
    targets_B = torch.arange(len(scores_BB), device=scores_BB.device)
    return scores_BB.argmax(dim=1) == targets_B, scores_BB.argmax(dim=0) == targets_B


def sentence_vectors(hidden_TH: Tensor, cu_seqlens: Tensor, pooling: Pooling) -> tuple[Tensor, ...]:
    """[B, H] for each way of pooling: the first token, the mean over all tokens, or both."""
    pooled: list[Tensor] = []
    if pooling in ("first", "both"):
        pooled.append(hidden_TH.index_select(0, cu_seqlens[:-1].long()).float())
    if pooling in ("mean", "both"):
        pooled.append(mean_by_text(hidden_TH, cu_seqlens))
    return tuple(pooled)
