"""An encoder from plain texts and translations: masked tokens, a contrast over the whole batch, a teacher's vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glotune.data.batches import PackedBatch, Rows, sent
from glotune.data.tokenization import TokenStore
from glotune.recipe.pretrain import Objective as Spec
from glotune.recipe.pretrain import PretrainRecipe
from glotune.run.records import Evaluation
from glotune.tasks.contrast import Pooling, hits_at_1, info_nce, sentence_vectors
from glotune.tasks.corpus import Corpus
from glotune.tasks.masked_lm import Masked, Vocabulary, mask_tokens, summed_masked_loss, token_losses
from glotune.tasks.sentence_targets import Lesson, Taught
from glotune.tasks.task import Across, Answers, Choice, Judgement, Metrics, Part, sums_dtype

MASKING, EVALUATION_MASKS = 2, 3
"""Streams of chance, beside those of the engine. In evaluation the same tokens are asked for every time."""
OWN_SUMS, TEACHERS_SUMS = ("masked", "contrastive", "hits"), ("teacher_cosine", "teacher_contrast", "teacher_hits")
SCORES = {"masked_loss": "masked_loss", "retrieval": "recall_at_1", "teacher_cosine": "teacher_cosine"}
"""What may choose the checkpoint -> its name among the scores of a language."""


@dataclass(frozen=True)
class HeldOutScores:
    """How the encoder does in one language; None where it was not asked."""

    n: int
    """Held-out texts."""
    masked_loss: float | None
    """Mean cross-entropy per hidden token, in nats."""
    masked_tokens: int
    candidates: int = 0
    """Number of held-out pairs among which each text looks for its translation."""
    recall_forth: float | None = None
    """Share of the texts whose translation is the nearest."""
    recall_back: float | None = None
    """Share of the translations whose text is the nearest."""
    teacher_cosine: float | None = None
    """Mean cosine with the teacher's targets; None without a teacher."""

    @property
    def recall_at_1(self) -> float | None:
        """Mean of the two directions."""
        if self.recall_forth is None or self.recall_back is None:
            return None
        return (self.recall_forth + self.recall_back) / 2

    def scores(self) -> dict[str, float | None]:
        """As events and ``metrics.json`` name them."""
        own = {
            "masked_loss": self.masked_loss,
            "recall_at_1": self.recall_at_1,
            "recall_at_1_forth": self.recall_forth,
            "recall_at_1_back": self.recall_back,
        }
        return own if self.teacher_cosine is None else {**own, "teacher_cosine": self.teacher_cosine}

    def event(self) -> Metrics:
        """What an evaluation event says of the language."""
        return {"n": self.n, **self.scores()}

    def counted_scores(self) -> dict[str, float | None]:
        """`scores` with what they were counted on."""
        return {**self.scores(), "masked_tokens": self.masked_tokens, "candidates": self.candidates}


@dataclass(frozen=True)
class Pretraining:
    """All objectives, weighted as the recipe says."""

    spec: Spec
    seed: int
    choice: Choice
    corpus: Corpus
    vocabulary: Vocabulary
    hidden_size: int
    hides_tokens: bool = True
    """False: texts are read as they are, and no token is asked for."""
    taught: Taught | None = None

    @classmethod
    def of(
        cls, recipe: PretrainRecipe, corpus: Corpus, tokenizer: object, hidden_size: int, taught: Taught | None = None
    ) -> Pretraining:
        """As a recipe says."""
        metric = recipe.chooses_by
        choice = Choice(metric, "held_out", higher_is_better=metric != "masked_loss")
        vocabulary = Vocabulary.of(tokenizer)
        return cls(recipe.objective, recipe.seed, choice, corpus, vocabulary, hidden_size, recipe.hides_tokens, taught)

    # ---- training -------------------------------------------------------------------------------------

    @property
    def drawn(self) -> int:
        """Pairs' texts and plain texts; translations come along with their texts."""
        return self.corpus.items

    @property
    def num_sums(self) -> int:
        """Masked loss, contrastive loss, share of translations found; with a teacher its cosine, contrast and hits."""
        return len(self.sum_names)

    @property
    def sum_names(self) -> tuple[str, ...]:
        """In their order."""
        return OWN_SUMS if self.taught is None else (*OWN_SUMS, *TEACHERS_SUMS)

    def sums(self, **named: Tensor) -> Tensor:
        """[S] of those that are named, the others 0."""
        there = next(iter(named.values()))
        none = torch.zeros((), dtype=sums_dtype(there.device), device=there.device)
        return torch.stack([named[name].detach().to(none) if name in named else none for name in self.sum_names])

    @property
    def may_be_filled(self) -> bool:
        """Every token of a batch counts."""
        return False

    def objective(self, step: int, rows: Rows) -> PretrainingBatch:
        """Masks are drawn for the effective batch in its own order, so that they don't depend on its cut."""
        store, texts = self.corpus.texts, self.corpus.texts_of(rows)
        tokens = np.concatenate([store.tokens[store.offsets[text] : store.offsets[text + 1]] for text in texts])
        generator = np.random.default_rng([self.seed, MASKING, step])
        spec = self.spec
        probability = spec.mask_probability if self.hides_tokens else 0.0
        masked = mask_tokens(tokens, self.vocabulary, probability, generator, spec.predicted_share)
        return PretrainingBatch(self, texts, tokens, masked, self._lesson(rows, len(texts)))

    def _lesson(self, items: Rows, texts: int) -> Lesson | None:
        if self.taught is None:
            return None
        keys = ~items  # of its own for each item, negative or not: hashes of 64 bits don't meet it
        paired = items < self.corpus.pairs
        keys[paired] = self.corpus.translation_keys[items[paired]]
        targets_KH = self.taught.train.of_items(items)
        return Lesson(self.taught.spec, self.spec.temperature, texts, items, targets_KH, keys)

    def epoch_metrics(self, sums: Sequence[float]) -> Mapping[str, float]:
        """None beside the loss."""
        return {}

    def excerpts(self, rows: Rows) -> list[str]:
        """None: texts stay out of the records."""
        return []

    @property
    def decision(self) -> None:
        """Nothing is fitted."""

    # ---- evaluation -----------------------------------------------------------------------------------

    def passes(self, split: str) -> list[MaskedPass | VectorPass]:
        """Once with hidden tokens; where there are held-out pairs or a teacher, once as they are."""
        held_out, spec = self.corpus.held_out, self.spec
        found: list[MaskedPass | VectorPass] = []
        if self.hides_tokens:
            generator = np.random.default_rng([self.seed, EVALUATION_MASKS])
            tokens = np.asarray(held_out.tokens[: held_out.offsets[-1]])
            masked = mask_tokens(tokens, self.vocabulary, spec.mask_probability, generator)
            found.append(MaskedPass(held_out, tokens, masked))
        if self.corpus.held_pairs or self.taught is not None:
            found.append(VectorPass(self.hidden_size, "mean" if spec.pooling == "mean" else "first"))
        return found

    def scores(self, split: str, answers: Answers) -> Mapping[str, Metrics]:
        """By language, sorted."""
        return {language: found.event() for language, found in self.held_out_scores(answers).items()}

    def held_out_scores(self, answers: Answers) -> dict[str, HeldOutScores]:
        """The sentence is its first token, or its mean where that alone learned."""
        store, pairs = self.corpus.held_out, self.corpus.held_pairs
        left = list(answers)
        losses_N2 = left.pop(0) if self.hides_tokens else np.zeros((len(store), 2))
        vectors_NH = torch.from_numpy(left[0]).float() if left else None
        cosines_N = self._teacher_cosines(vectors_NH)
        found = {}
        for code, language in enumerate(store.language_names):
            rows = np.flatnonzero(store.languages == code)
            predicted = int(losses_N2[rows, 1].sum())
            loss = float(losses_N2[rows, 0].sum() / predicted) if predicted else None
            own = rows[rows < pairs]
            recalls: tuple[float | None, float | None] = (None, None)
            if vectors_NH is not None and len(own):
                recalls = _recalls(vectors_NH, own, len(store) - pairs)
            cosine = None if cosines_N is None else float(cosines_N[rows].mean())
            found[language] = HeldOutScores(len(rows), loss, predicted, len(own), *recalls, cosine)
        return found

    def _teacher_cosines(self, vectors_NH: Tensor | None) -> NDArray[np.float64] | None:
        if self.taught is None or vectors_NH is None:
            return None
        targets_NH = self.taught.held_out.of_texts(np.arange(len(vectors_NH)))
        return torch.nn.functional.cosine_similarity(vectors_NH, targets_NH).double().numpy()

    def judge(self, answers: Answers) -> Judgement:
        """Of the held-out texts."""
        found = self.held_out_scores(answers)
        asked = sum(each.recall_at_1 is not None for each in found.values())
        said = {
            "masked loss": (self.hides_tokens, "masked_loss", ""),
            "recall at 1": (bool(asked), "retrieval", f" over {asked} languages"),
            "cosine with the teacher": (self.taught is not None, "teacher_cosine", ""),
        }
        parts = [
            f"{name} {mean_over_languages(found, metric):.4f}{over}"
            for name, (there, metric, over) in said.items()
            if there
        ]
        return Judgement(
            metrics={language: each.event() for language, each in found.items()},
            value=mean_over_languages(found, self.choice.metric),
            summary=f"held-out {', '.join(parts)}",
        )

    def record(self, folder: Path, split: str, answers: Answers) -> list[Evaluation]:
        """Scores alone: there are no predictions to record."""
        return [
            Evaluation(split=split, language=language, n=found.n, scores=found.counted_scores())
            for language, found in self.held_out_scores(answers).items()
        ]


@dataclass(frozen=True)
class PretrainingBatch:
    """The loss of one effective batch: masked tokens, translations against each other, and what a teacher says."""

    task: Pretraining
    rows: Rows
    tokens: NDArray[np.int32]
    """Of these texts end to end."""
    masked: Masked
    lesson: Lesson | None = None

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.task.corpus.texts.lengths[self.rows])])

    @cached_property
    def _places(self) -> dict[int, int]:
        return {int(text): place for place, text in enumerate(self.rows)}

    @cached_property
    def _predicted(self) -> int:
        return int(self.masked.chosen.sum())

    @cached_property
    def _lefts(self) -> Rows:
        return self.rows[self.rows < self.task.corpus.pairs]

    def dress(self, batch: PackedBatch) -> PackedBatch:
        """The texts with some tokens hidden; which are predicted, and what they were."""
        order = [self._places[int(text)] for text in batch.rows]
        spots = np.concatenate([np.arange(self._offsets[place], self._offsets[place + 1]) for place in order])
        dressed = _hidden(batch, self.masked, self.tokens, spots)
        return dressed if self.lesson is None else self.lesson.dress(dressed, self.task.corpus.items_of(batch.rows))

    def part(self, network: Any, batch: PackedBatch) -> Part:
        """Its share of the masked loss and of the teacher's; the texts' sentence vectors."""
        task, spec = self.task, self.task.spec
        hidden_TH = network(batch)
        vectors = sentence_vectors(hidden_TH, batch.cu_seqlens, spec.pooling)
        losses, sums = [], {}
        if task.hides_tokens:
            logits_NV = network.token_logits(hidden_TH.index_select(0, batch.targets["places"]))
            masked = summed_masked_loss(logits_NV, batch.targets["tokens"]) * (spec.masked_lm / max(1, self._predicted))
            losses, sums = [masked], {"masked": masked}
        if self.lesson is not None:
            taught, shares = self.lesson.part(vectors, batch.targets)
            losses, sums = [*losses, taught], {**sums, **shares}
        return Part(torch.stack(losses).sum(), task.sums(**sums), vectors)

    @property
    def across(self) -> Across | None:
        """The contrast, where there is something to tell apart."""
        return self._contrast if self.task.spec.contrastive != 0.0 and len(self._lefts) >= 2 else None

    def _contrast(self, vectors: Sequence[tuple[Tensor, ...]], rows: Rows) -> Part:
        corpus, spec, device = self.task.corpus, self.task.spec, vectors[0][0].device
        keys = corpus.translation_keys[self._lefts]
        alike = sent(torch.from_numpy((keys[:, None] == keys[None, :]) & ~np.eye(len(keys), dtype=bool)), device)
        places = {int(text): place for place, text in enumerate(rows)}
        left = sent(torch.tensor([places[int(text)] for text in self._lefts]), device)
        right = sent(torch.tensor([places[int(text) + corpus.items] for text in self._lefts]), device)
        losses = []
        for pooled in zip(*vectors, strict=True):
            vectors_KH = torch.cat(pooled)
            left_BH, right_BH = vectors_KH.index_select(0, left), vectors_KH.index_select(0, right)
            losses.append(info_nce(left_BH, right_BH, spec.temperature, alike))
        loss = torch.stack(losses).mean()
        hits = hits_at_1(left_BH.detach(), right_BH.detach())[0].float().mean()
        return Part(loss * spec.contrastive, self.task.sums(contrastive=loss, hits=hits))

    def details(self, sums: Sequence[float]) -> Mapping[str, float]:
        """The losses without their weights, and the share of the pairs whose translation was the nearest."""
        by_name = dict(zip(self.task.sum_names, sums, strict=True))
        found = {}
        if self.task.spec.masked_lm > 0 and self._predicted:
            found["masked_loss"] = by_name["masked"] / self.task.spec.masked_lm
        if self.across is not None:
            found |= {"contrastive_loss": by_name["contrastive"], "hits": by_name["hits"]}
        if self.lesson is not None:
            found |= {name: by_name[name] for name in TEACHERS_SUMS}
        return found


@dataclass(frozen=True)
class MaskedPass:
    """How well hidden tokens are guessed: per text the sum of their losses, and their number."""

    store: TokenStore
    tokens: NDArray[np.int32]
    masked: Masked
    width: int = 2

    def dress(self, batch: PackedBatch) -> PackedBatch:
        """The texts with some tokens hidden."""
        offsets = self.store.offsets
        spots = np.concatenate([np.arange(offsets[row], offsets[row + 1]) for row in batch.rows])
        return _hidden(batch, self.masked, self.tokens, spots)

    def answer(self, network: Any, batch: PackedBatch) -> Tensor:
        """[B, 2]"""
        logits_NV = network.token_logits(network(batch)[batch.targets["places"]])
        losses_N = token_losses(logits_NV, batch.targets["tokens"])
        losses_N = losses_N.to(sums_dtype(losses_N.device))
        none_B = torch.zeros(len(batch), dtype=losses_N.dtype, device=losses_N.device)
        texts_N = batch.targets["texts"]
        both = [none_B.index_add(0, texts_N, losses_N), none_B.index_add(0, texts_N, torch.ones_like(losses_N))]
        return torch.stack(both, dim=1)


@dataclass(frozen=True)
class VectorPass:
    """The sentence vectors of texts as they are."""

    width: int
    pooling: Pooling

    def dress(self, batch: PackedBatch) -> PackedBatch:
        """The batch itself."""
        return batch

    def answer(self, network: Any, batch: PackedBatch) -> Tensor:
        """[B, H]"""
        return sentence_vectors(network(batch), batch.cu_seqlens, self.pooling)[0]


def _hidden(batch: PackedBatch, masked: Masked, tokens: NDArray[np.int32], spots: NDArray[np.int64]) -> PackedBatch:
    """The batch, whose tokens stand at `spots`, as it was masked; ``places``, ``tokens``, ``texts`` [N] of its loss."""
    places = np.flatnonzero(masked.chosen[spots])
    texts = np.repeat(np.arange(len(batch)), batch.lengths)
    targets = {"places": places, "tokens": tokens[spots][places].astype(np.int64), "texts": texts[places]}
    return replace(
        batch,
        input_ids=torch.from_numpy(masked.tokens[spots].astype(np.int64)),
        targets={name: torch.from_numpy(values) for name, values in targets.items()},
    )


def _recalls(vectors_NH: Tensor, pairs: NDArray[np.int64], offset: int) -> tuple[float, float]:
    left, right = torch.from_numpy(pairs), torch.from_numpy(pairs + offset)
    forth, back = hits_at_1(vectors_NH[left], vectors_NH[right])
    return float(forth.float().mean()), float(back.float().mean())


def mean_over_languages(found: Mapping[str, HeldOutScores], metric: str) -> float:
    """Mean over languages of one of `SCORES`; NaN where no language has it."""
    values = [value for each in found.values() if (value := each.scores().get(SCORES[metric])) is not None]
    return sum(values) / len(values) if values else float("nan")
