"""What both sides train: encoders of XLM-R's shapes, weights at random, on random tokens of tweets' lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from glotune.data.tokenization import TokenStore

MAX_LENGTH = 128
LABELS = ("negative", "neutral", "positive")


@dataclass(frozen=True)
class Shape:
    """An encoder with random weights."""

    name: str
    hidden: int
    layers: int
    heads: int
    vocabulary: int = 250_002
    used: int = 30_000
    """Rows of the vocabulary that the texts use: glotune trains these alone."""


SHAPES = (Shape("XLM-R-base", 768, 12, 12), Shape("XLM-R-large", 1024, 24, 16))
TINY = (Shape("tiny", 64, 2, 4, 2_000, 500),)


def made_texts(shape: Shape, count: int) -> TokenStore:
    """Random tokens; lengths are log-normal, median 27, at most 128."""
    generator = np.random.default_rng(0)
    lengths = np.clip(np.exp(generator.normal(np.log(27), 0.45, count)), 4, MAX_LENGTH).astype(np.int64)
    return TokenStore(
        tokens=generator.integers(5, shape.used, int(lengths.sum())).astype(np.int32),
        token_types=None,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=generator.integers(0, len(LABELS), count).astype(np.int16),
        languages=np.zeros(count, np.int16),
        language_names=["und"],
        rows=np.arange(count, dtype=np.int32),
        raw_lengths=lengths.astype(np.int32),
    )


def model_of(shape: Shape, dropout: float, device: torch.device, *, trimmed: bool) -> Any:
    """A classifier whose weights are the same on both sides, rows of the vocabulary that no text uses apart."""
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    config = XLMRobertaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.hidden,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=len(LABELS),
    )
    torch.manual_seed(0)
    with device:
        hf: Any = XLMRobertaForSequenceClassification(config)
    if trimmed:
        hf.resize_token_embeddings(shape.used)
    return hf


def flops_of(shape: Shape, lengths: list[int]) -> float:
    """Floating-point operations of a training step that has to be done: padding, a repeated pass and the last layer's
    unused tokens don't count (forward once, backward twice)."""
    width, tokens = shape.hidden, sum(lengths)
    pairs = sum(length * length for length in lengths)
    linear = 2 * 12 * width * width * tokens * (shape.layers - 1)
    last = 2 * 2 * width * width * tokens + 2 * 10 * width * width * len(lengths)
    attention = 4 * width * (pairs * (shape.layers - 1) + tokens)
    return float(3 * (linear + last + attention))
