"""One optimizer step of pretraining: masked tokens and translations, right under any cut of the batch.

The contrastive loss looks at all pairs of the effective batch at once. Where their activations fit they are held;
otherwise the sentence vectors are computed first, then their gradients, and each micro-batch runs again to carry its
part back (Gao et al. 2021, "Scaling deep contrastive learning batch size", arXiv:2101.06983): the same update.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glotune.data.batches import Rows, cut
from glotune.data.packed import PackedBatch, collate
from glotune.engine.pretraining.parts import PretrainParts
from glotune.engine.randomness import seed_micro_batch
from glotune.engine.step import StepOutcome, Stepper
from glotune.tasks.contrast import hits_at_1, info_nce, sentence_vectors
from glotune.tasks.masked_lm import mask_tokens, summed_masked_loss

MASKING = 2
"""Stream for masks, beside those of `glotune.engine.randomness`."""


@dataclass(frozen=True)
class Disguised:
    """A micro-batch with some tokens hidden."""

    batch: PackedBatch
    places_N: Tensor
    """Which of its tokens are predicted."""
    targets_N: Tensor
    """What they were."""

    def to(self, device: torch.device) -> Disguised:
        """The same on `device`."""
        return Disguised(self.batch.to(device), self.places_N.to(device), self.targets_N.to(device))


@dataclass(frozen=True)
class Output:
    """What a micro-batch's forward pass gives."""

    masked_loss: Tensor
    """Its part of the effective batch's masked loss, weighted."""
    vectors: tuple[Tensor, ...]
    """[B, H] for each way of pooling."""
    texts: NDArray[np.int64]
    """[B] which texts they are."""


Contrast = Callable[[list[Output]], Tensor]


@dataclass
class Figures:
    """What one step saw of its two objectives; NaN where one had no part."""

    masked_loss: float = math.nan
    contrastive_loss: float = math.nan
    hits: float = math.nan
    """Share of the batch's pairs whose translation was the nearest of the batch."""

    def to_json(self) -> dict[str, float]:
        """Only what had a part."""
        return {name: value for name, value in vars(self).items() if not math.isnan(value)}


@dataclass
class PretrainStepper(Stepper):
    """`Stepper` with the pretraining objectives."""

    parts: PretrainParts
    figures: Figures = field(default_factory=Figures)
    """Of the last step."""

    def _load(self, rows: Rows) -> list[PackedBatch]:
        store = self.parts.corpus.texts
        texts = self.parts.corpus.texts_of(rows)
        return [collate(store, piece) for piece, _ in cut(texts, store.lengths, self.token_budget)]

    def _step(
        self, step: int, rows: Rows, micro_batches: list[PackedBatch], started: float, waited: float
    ) -> StepOutcome:
        parts = self.parts
        parts.network.train()
        texts = parts.corpus.texts_of(rows)
        loss = self._learn(step, texts, micro_batches)
        norm = float(self._clip())
        factor = self.schedule.factor(step)
        if math.isfinite(loss) and math.isfinite(norm):
            self._update(factor)
        self.optimizer.zero_grad(set_to_none=True)
        return StepOutcome(
            loss=loss,
            grad_norm=norm,
            learning_rate=self.schedule.learning_rate * factor,
            texts=len(texts),
            tokens=int(parts.corpus.texts.lengths[texts].sum()),
            confusion=np.zeros((0, 0), dtype=np.int64),
            seconds=time.perf_counter() - started,
            wait_seconds=waited,
        )

    def _learn(self, step: int, texts: Rows, micro_batches: list[PackedBatch]) -> float:
        """Gradients of the whole batch; returns its loss."""
        parts, spec = self.parts, self.parts.pretrain.objective
        disguised = self._disguise(step, texts, micro_batches)
        self.figures = Figures()
        predicted = sum(len(each.targets_N) for each in disguised)
        forward = self._forward(step, disguised, spec.masked_lm / max(1, predicted))
        contrast = self._contrast(texts)
        if contrast is None:
            masked = total = sum(_backward(forward(number).masked_loss) for number in range(len(disguised)))
        elif parts.corpus.texts.lengths[texts].sum() <= parts.tokens_held(self.token_budget):
            outputs = [forward(number) for number in range(len(disguised))]
            masked_loss = torch.stack([output.masked_loss for output in outputs]).sum()
            total = _backward(contrast(outputs) + masked_loss)
            masked = float(masked_loss.detach())
        else:
            masked, total = _in_two_passes(forward, contrast, len(disguised))
        if spec.masked_lm > 0 and predicted:
            self.figures.masked_loss = masked / spec.masked_lm
        return total

    def _disguise(self, step: int, texts: Rows, micro_batches: list[PackedBatch]) -> list[Disguised]:
        """Masks are drawn for the effective batch in its own order, so that they don't depend on its cut."""
        parts, spec = self.parts, self.parts.pretrain.objective
        store = parts.corpus.texts
        offsets = np.concatenate([[0], np.cumsum(store.lengths[texts])])
        tokens = np.concatenate([store.tokens[store.offsets[text] : store.offsets[text + 1]] for text in texts])
        generator = np.random.default_rng([parts.recipe.seed, MASKING, step])
        masked = mask_tokens(tokens, parts.vocabulary, spec.mask_probability, generator, spec.predicted_share)
        place = {int(text): index for index, text in enumerate(texts)}
        disguised = []
        for micro in micro_batches:
            order = [place[int(text)] for text in micro.rows]
            spots = np.concatenate([np.arange(offsets[index], offsets[index + 1]) for index in order])
            disguised.append(_disguised(micro, masked.tokens[spots], masked.chosen[spots], tokens[spots]))
        return disguised

    def _forward(self, step: int, disguised: list[Disguised], scale: float) -> Callable[[int], Output]:
        """The forward pass of the micro-batch of a number: the same dropout whenever it runs."""
        parts, pooling = self.parts, self.parts.pretrain.objective.pooling

        def forward(number: int) -> Output:
            seed_micro_batch(parts.recipe.seed, step, number, parts.processes.rank)
            micro = disguised[number].to(parts.device)
            with parts.autocast():
                hidden_TH = parts.model(micro.batch)
                logits_NV = parts.model.token_logits(hidden_TH.index_select(0, micro.places_N))
            loss = summed_masked_loss(logits_NV, micro.targets_N) * scale
            return Output(loss, sentence_vectors(hidden_TH, micro.batch.cu_seqlens, pooling), micro.batch.rows)

        return forward

    def _contrast(self, texts: Rows) -> Contrast | None:
        """The contrastive loss of the batch's sentence vectors; None where there is none."""
        parts, spec = self.parts, self.parts.pretrain.objective
        lefts = texts[texts < parts.corpus.pairs]
        if spec.contrastive == 0.0 or len(lefts) < 2:
            return None
        keys = parts.corpus.translation_keys[lefts]
        alike = torch.from_numpy((keys[:, None] == keys[None, :]) & ~np.eye(len(keys), dtype=bool)).to(parts.device)

        def contrast(outputs: list[Output]) -> Tensor:
            places = {int(text): place for place, text in enumerate(np.concatenate([each.texts for each in outputs]))}
            left = torch.tensor([places[int(text)] for text in lefts], device=parts.device)
            right = torch.tensor([places[int(text) + len(parts.corpus.items)] for text in lefts], device=parts.device)
            losses = []
            for pooled in zip(*(each.vectors for each in outputs), strict=True):
                vectors_KH = torch.cat(pooled)
                left_BH, right_BH = vectors_KH.index_select(0, left), vectors_KH.index_select(0, right)
                losses.append(info_nce(left_BH, right_BH, spec.temperature, alike))
            loss = torch.stack(losses).mean()
            self.figures.contrastive_loss = float(loss.detach())
            self.figures.hits = float(hits_at_1(left_BH.detach(), right_BH.detach())[0].float().mean())
            return loss * spec.contrastive

        return contrast


def _in_two_passes(forward: Callable[[int], Output], contrast: Contrast, count: int) -> tuple[float, float]:
    """(masked loss, whole loss), gradients in place, with one micro-batch's activations at a time."""
    with torch.no_grad():
        outputs = [forward(number) for number in range(count)]
    leaves = [tuple(vectors.detach().requires_grad_() for vectors in each.vectors) for each in outputs]
    contrastive = _backward(contrast([replace(each, vectors=leaf) for each, leaf in zip(outputs, leaves, strict=True)]))
    masked = 0.0
    for number, leaf in enumerate(leaves):
        output = forward(number)
        carried = [
            (vectors * known.grad).sum()
            for vectors, known in zip(output.vectors, leaf, strict=True)
            if known.grad is not None
        ]
        _backward(output.masked_loss + torch.stack(carried).sum() if carried else output.masked_loss)
        masked += float(output.masked_loss.detach())
    return masked, masked + contrastive


def _backward(loss: Tensor) -> float:
    loss.backward()
    return float(loss.detach())


def _disguised(
    batch: PackedBatch, shown: NDArray[np.int32], chosen: NDArray[np.bool_], tokens: NDArray[np.int32]
) -> Disguised:
    places = np.flatnonzero(chosen)
    return Disguised(
        batch=replace(batch, input_ids=torch.from_numpy(shown.astype(np.int64))),
        places_N=torch.from_numpy(places),
        targets_N=torch.from_numpy(tokens[places].astype(np.int64)),
    )
