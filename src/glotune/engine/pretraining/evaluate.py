"""Pretraining judged by what it never saw: masked tokens per language, and translations found both ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glotune.data.batches import cut
from glotune.data.packed import PackedBatch, collate
from glotune.engine.observer import Observer
from glotune.engine.pretraining.parts import PretrainParts
from glotune.tasks.contrast import Pooling, hits_at_1, sentence_vectors
from glotune.tasks.masked_lm import mask_tokens, token_losses

EVALUATION_MASKS = 3
"""Stream for the masks of evaluation: the same tokens are asked for every time."""


@dataclass(frozen=True)
class LanguageFigures:
    """How the encoder does in one language; None where it was not asked."""

    n: int
    """Held-out texts."""
    masked_loss: float | None
    """Mean cross-entropy per hidden token, in nats."""
    masked_tokens: int
    candidates: int = 0
    """Held-out pairs: each text looks for its translation among so many."""
    recall_forth: float | None = None
    """Share of the texts whose translation is the nearest."""
    recall_back: float | None = None
    """Share of the translations whose text is the nearest."""

    @property
    def recall_at_1(self) -> float | None:
        """Mean of the two directions."""
        if self.recall_forth is None or self.recall_back is None:
            return None
        return (self.recall_forth + self.recall_back) / 2

    def scores(self) -> dict[str, float | None]:
        """As events and ``metrics.json`` name them."""
        return {
            "masked_loss": self.masked_loss,
            "recall_at_1": self.recall_at_1,
            "recall_at_1_forth": self.recall_forth,
            "recall_at_1_back": self.recall_back,
        }

    def counted_scores(self) -> dict[str, float | None]:
        """`scores` with what they were counted on."""
        return {**self.scores(), "masked_tokens": self.masked_tokens, "candidates": self.candidates}


@torch.no_grad()
def evaluate(parts: PretrainParts, observer: Observer) -> dict[str, LanguageFigures]:
    """Language -> figures, languages sorted. The sentence is its first token, or its mean where that alone learned."""
    store = parts.corpus.held_out
    loss_sums, counts = _masked_losses(parts, observer)
    vectors_NH = _vectors(parts) if parts.corpus.held_pairs else None
    found = {}
    for code, language in enumerate(store.language_names):
        rows = np.flatnonzero(store.languages == code)
        predicted = int(counts[rows].sum())
        loss = float(loss_sums[rows].sum() / predicted) if predicted else None
        pairs = rows[rows < parts.corpus.held_pairs]
        recalls: tuple[float | None, float | None] = (None, None)
        if vectors_NH is not None and len(pairs):
            recalls = _recalls(vectors_NH, pairs, len(store) - parts.corpus.held_pairs)
        found[language] = LanguageFigures(len(rows), loss, predicted, len(pairs), *recalls)
    return found


def _recalls(vectors_NH: Tensor, pairs: NDArray[np.int64], offset: int) -> tuple[float, float]:
    left, right = torch.from_numpy(pairs), torch.from_numpy(pairs + offset)
    forth, back = hits_at_1(vectors_NH[left], vectors_NH[right])
    return float(forth.float().mean()), float(back.float().mean())


def _masked_losses(parts: PretrainParts, observer: Observer) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Per held-out text: sum of its hidden tokens' losses, and their number."""
    store, spec = parts.corpus.held_out, parts.pretrain.objective
    generator = np.random.default_rng([parts.recipe.seed, EVALUATION_MASKS])
    tokens = np.asarray(store.tokens[: store.offsets[-1]])
    masked = mask_tokens(tokens, parts.vocabulary, spec.mask_probability, generator)
    sums, counts = np.zeros(len(store)), np.zeros(len(store), dtype=np.int64)
    done = 0

    def hidden(rows: NDArray[np.int64]) -> PackedBatch:
        spots = np.concatenate([np.arange(store.offsets[row], store.offsets[row + 1]) for row in rows])
        batch = collate(store, rows)
        batch.input_ids.copy_(torch.from_numpy(masked.tokens[spots].astype(np.int64)))
        return batch

    for batch, hidden_TH in parts.forward(map(hidden, _cut(parts))):
        rows = batch.rows
        spots = np.concatenate([np.arange(store.offsets[row], store.offsets[row + 1]) for row in rows])
        places = np.flatnonzero(masked.chosen[spots])
        with parts.autocast():
            logits_NV = parts.model.token_logits(hidden_TH[torch.from_numpy(places).to(parts.device)])
        targets = torch.from_numpy(tokens[spots][places].astype(np.int64)).to(parts.device)
        losses = token_losses(logits_NV, targets).double().cpu().numpy()
        texts = np.repeat(np.arange(len(rows)), store.lengths[rows])[places]
        np.add.at(sums, rows[texts], losses)
        np.add.at(counts, rows[texts], 1)
        done += len(rows)
        observer.progress("evaluate", done, len(store), {})
    return sums, counts


def _vectors(parts: PretrainParts) -> Tensor:
    """[N, H] sentence vectors of all held-out texts, nothing hidden, on the host."""
    store = parts.corpus.held_out
    pooling: Pooling = "mean" if parts.pretrain.objective.pooling == "mean" else "first"
    vectors_NH = torch.zeros(len(store), parts.network.hidden_size)
    for batch, hidden_TH in parts.forward(collate(store, rows) for rows in _cut(parts)):
        pooled = sentence_vectors(hidden_TH, batch.cu_seqlens, pooling)[0]
        vectors_NH[torch.from_numpy(batch.rows)] = pooled.cpu()
    return vectors_NH


def _cut(parts: PretrainParts) -> Iterator[NDArray[np.int64]]:
    store = parts.corpus.held_out
    return (rows for rows, _ in cut(np.arange(len(store)), store.lengths, parts.plan.token_budget))


def monitored(figures: dict[str, LanguageFigures], chooses_by: str) -> float:
    """Mean over languages of what chooses the checkpoint; NaN where no language has it."""
    name = "masked_loss" if chooses_by == "masked_loss" else "recall_at_1"
    values = [value for each in figures.values() if (value := each.scores()[name]) is not None]
    return sum(values) / len(values) if values else float("nan")
