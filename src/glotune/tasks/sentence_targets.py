"""A teacher's sentence vectors as targets: centred, in the student's width, and how far a student is from them.

General distillation (Reimers & Gurevych 2020, arXiv:2004.09813): the student's vectors of a text and of its translation
are both drawn to one target, so that languages come together where the teacher puts the meaning. No layer stands
between the two widths: the teacher's vectors are brought to the student's by their principal components, so nothing is
trained that would have to be thrown away, and the student's own vectors are what its teacher's were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glotune.data.batches import PackedBatch, Rows
from glotune.recipe.pretrain import Teacher
from glotune.tasks.contrast import cosines

Floats = NDArray[np.float32]
PRIOR = 20
"""A language of n texts is centred on (n * its mean + PRIOR * the mean of all) / (n + PRIOR): the mean of three texts
is those texts, and would take all of them away."""
AXES_FROM = 50_000
"""Texts, evenly spaced, whose spread decides on the principal components."""
TOGETHER = 8192
"""Vectors that are summed up at once."""


@dataclass(frozen=True)
class SentenceVectors:
    """What a teacher says of the N texts of a split."""

    vectors_UD: Floats
    """Unit vectors of the different texts of all splits; memory-mapped."""
    places_N: NDArray[np.int64]
    """The row of each text there; -1 for texts that it was not asked about."""
    languages_N: NDArray[np.int16]
    language_names: list[str]

    @property
    def width(self) -> int:
        """D"""
        return int(self.vectors_UD.shape[1])

    @property
    def asked(self) -> Rows:
        """The texts that there are vectors of."""
        return np.flatnonzero(self.places_N >= 0)

    def of(self, texts: Rows) -> Floats:
        """[B, D], in memory."""
        return np.asarray(self.vectors_UD[self.places_N[texts]], np.float32)

    def pieces(self, texts: Rows) -> Iterator[Floats]:
        """The same, some at a time."""
        for start in range(0, len(texts), TOGETHER):
            yield self.of(texts[start : start + TOGETHER])


@dataclass(frozen=True)
class Space:
    """How vectors become targets: what is taken off, and the directions that are kept."""

    centres: Mapping[str, Floats]
    """Language -> [D]."""
    elsewhere_D: Floats
    """Taken off the vectors of a language without training texts."""
    axes_DH: Floats | None
    """Orthonormal columns, by falling spread; None: the student is as wide as its teacher."""

    @classmethod
    def of(cls, vectors: SentenceVectors, centre: Literal["language", "all", "none"], width: int) -> Space:
        """From the training texts' vectors, for a student of a width H, at most the teacher's.

        Raises:
            ValueError: H is above D.
        """
        if width > vectors.width:
            raise ValueError(f"{width} components of vectors that are {vectors.width} wide")
        every = vectors.asked
        overall = np.zeros(vectors.width) if centre == "none" else _mean(vectors, every)
        centres = {}
        for code, language in enumerate(vectors.language_names):
            own = every[vectors.languages_N[every] == code]
            if centre == "language" and len(own):
                mean = (len(own) * _mean(vectors, own) + PRIOR * overall) / (len(own) + PRIOR)
                centres[language] = mean.astype(np.float32)
        space = cls(centres, overall.astype(np.float32), None)
        return space if width == vectors.width else replace(space, axes_DH=_axes(space, vectors, width))

    def centred(self, vectors: SentenceVectors, texts: Rows) -> Floats:
        """[B, D]"""
        table_LD = np.stack([self.centres.get(name, self.elsewhere_D) for name in vectors.language_names])
        return vectors.of(texts) - table_LD[vectors.languages_N[texts]]


def _mean(vectors: SentenceVectors, texts: Rows) -> NDArray[np.float64]:
    sums: NDArray[np.float64] = np.sum([part.sum(axis=0, dtype=np.float64) for part in vectors.pieces(texts)], axis=0)
    return sums / len(texts)


def _axes(space: Space, vectors: SentenceVectors, width: int) -> Floats:
    asked = vectors.asked
    chosen = asked[np.unique(np.linspace(0, len(asked) - 1, AXES_FROM).astype(np.int64))]
    spread_DD = np.zeros((vectors.width, vectors.width))
    for start in range(0, len(chosen), TOGETHER):
        part = space.centred(vectors, chosen[start : start + TOGETHER]).astype(np.float64)
        spread_DD += part.T @ part
    axes_DD = np.linalg.eigh(spread_DD)[1]  # by rising spread
    return np.ascontiguousarray(axes_DD[:, ::-1][:, :width].astype(np.float32))


@dataclass(frozen=True)
class Targets:
    """The targets of a split whose texts are laid out as `glotune.tasks.corpus.Corpus`'s: translations come last."""

    vectors: SentenceVectors
    space: Space
    items: int
    """Texts from this number on are translations: text `items` + i of item i."""
    pairs: int
    """Items below this number have a translation."""
    of_translations: bool = False
    """The target of a pair is its translation's vector alone."""

    def of_items(self, items: Rows) -> Tensor:
        """[K, H] unit vectors, float32: of the text; of a pair's two sides the sum, or the translation's."""
        paired = items < self.pairs
        if self.of_translations:
            found = self.space.centred(self.vectors, np.where(paired, items + self.items, items))
        else:
            found = self.space.centred(self.vectors, items)
            found[paired] += self.space.centred(self.vectors, items[paired] + self.items)
        if self.space.axes_DH is not None:
            found = found @ self.space.axes_DH
        return functional.normalize(torch.from_numpy(found), dim=1)

    def of_texts(self, texts: Rows) -> Tensor:
        """[B, H]: a translation's target is its text's."""
        return self.of_items(np.where(texts < self.items, texts, texts - self.items))


@dataclass(frozen=True)
class Taught:
    """A teacher's part of a task."""

    spec: Teacher
    train: Targets
    held_out: Targets


@dataclass(frozen=True)
class Lesson:
    """A teacher's part of one effective batch of T texts, on K items."""

    spec: Teacher
    temperature: float
    texts: int
    """T"""
    items: Rows
    """[K] drawn ones; one that comes twice stands there twice."""
    targets_KH: Tensor
    keys_K: NDArray[np.int64]
    """Items of one key are no wrong answers to each other."""

    def dress(self, batch: PackedBatch, items: Rows) -> PackedBatch:
        """Adds all targets of the batch, which is each text's own, and which are no wrong answers to it."""
        places = {int(item): place for place, item in enumerate(self.items)}
        own_B = np.array([places[int(item)] for item in items], np.int64)
        alike_BK = self.keys_K[own_B][:, None] == self.keys_K[None, :]
        alike_BK[np.arange(len(own_B)), own_B] = False
        added = {"teacher": self.targets_KH, "own": torch.from_numpy(own_B), "alike": torch.from_numpy(alike_BK)}
        return replace(batch, targets={**batch.targets, **added})

    def part(self, pooled: tuple[Tensor, ...], targets: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """A micro-batch's share of the loss, and of the batch's mean cosine, contrast and hits.

        Args:
            pooled: the student's vectors [B, H], each way of pooling; the loss is the mean over them.
            targets: of the dressed micro-batch.
        """
        shares = [self._share(vectors_BH, targets) for vectors_BH in pooled]
        cosine, contrast, hits = (torch.stack(each).mean() for each in zip(*shares, strict=True))
        # Of unit vectors the squared distance is 2 (1 - cosine); each text counts 1 / T, whatever its micro-batch.
        distance = 2.0 * (pooled[0].shape[0] / self.texts - cosine)
        loss = self.spec.weight * distance + self.spec.contrast * contrast
        return loss, {"teacher_cosine": cosine, "teacher_contrast": contrast, "teacher_hits": hits}

    def _share(self, vectors_BH: Tensor, targets: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        own_B, cosines_BK = targets["own"], cosines(vectors_BH, targets["teacher"])
        own_cosines = cosines_BK.gather(1, own_B.unsqueeze(1)).sum()
        scores_BK = (cosines_BK / self.temperature).masked_fill(targets["alike"], -torch.inf)
        contrast = functional.cross_entropy(scores_BK, own_B, reduction="sum")
        hits = (scores_BK.detach().argmax(dim=1) == own_B).float().sum()
        return own_cosines / self.texts, contrast / self.texts, hits / self.texts
