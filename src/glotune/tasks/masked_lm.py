"""Masked language modelling (Devlin et al. 2019, arXiv:1810.04805, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

MASKED, REPLACED = 0.8, 0.1
"""Shares of the chosen tokens that become ``<mask>``, and a random token; the rest stay as they are."""


@dataclass(frozen=True)
class Vocabulary:
    """What masking must know of a tokenizer."""

    size: int
    mask_id: int
    special_ids: tuple[int, ...]
    """Never chosen, and never put in place of another token."""

    @classmethod
    def of(cls, tokenizer: object) -> Vocabulary:
        """From a tokenizer of transformers that has a mask token."""
        special = tuple(sorted(set(tokenizer.all_special_ids)))  # type: ignore[attr-defined]
        return cls(len(tokenizer), int(tokenizer.mask_token_id), special)  # type: ignore[arg-type,attr-defined]


@dataclass(frozen=True)
class Masked:
    """T tokens of an effective batch, some of them hidden."""

    tokens: NDArray[np.int32]
    """[T] what the encoder reads."""
    chosen: NDArray[np.bool_]
    """[T] where the loss looks."""


def mask_tokens(
    tokens: NDArray[np.int32],
    vocabulary: Vocabulary,
    probability: float,
    generator: np.random.Generator,
    predicted_share: float = 1.0,
) -> Masked:
    """Hides tokens at random: a function of the generator's state and the tokens alone, not of how they are cut.

    Args:
        tokens: [T].
        probability: that a token which is not special is hidden.
        predicted_share: share of the hidden tokens that are predicted; the others are noise only.
    """
    hidden = (generator.random(len(tokens)) < probability) & ~np.isin(tokens, vocabulary.special_ids)
    fate = generator.random(len(tokens))
    ordinary = np.setdiff1d(np.arange(vocabulary.size, dtype=np.int32), vocabulary.special_ids)
    random_tokens = ordinary[generator.integers(0, len(ordinary), len(tokens))]
    shown = np.where(hidden & (fate < MASKED), np.int32(vocabulary.mask_id), tokens)
    shown = np.where(hidden & (fate >= MASKED) & (fate < MASKED + REPLACED), random_tokens, shown)
    chosen = hidden & (generator.random(len(tokens)) < predicted_share)
    return Masked(shown.astype(np.int32), chosen)


def summed_masked_loss(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Sum of the cross-entropies of N predicted tokens, in fp32; 0 where there is none."""
    if len(targets_N) == 0:
        return logits_NV.float().sum() * 0.0
    return functional.cross_entropy(logits_NV.float(), targets_N, reduction="sum")


def token_losses(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """[N] cross-entropy of each predicted token, in fp32."""
    return torch.nn.functional.cross_entropy(logits_NV.float(), targets_N, reduction="none")
