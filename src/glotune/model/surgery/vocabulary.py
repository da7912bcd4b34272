"""Lossless vocabulary trimming: only the embedding rows that the run's data uses, and the way back (contract C4)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from glotune.errors import RunError, UserError
from glotune.model.families import Anatomy
from glotune.model.surgery.counting import Counts
from glotune.model.tensorfile import map_matrix, release
from glotune.run.records import Change
from glotune.words import millions

_CHUNK = 8192
"""Rows that are handled at once: the full matrix never is."""

_PROBES = 32

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class VocabularyMap:
    """Which row of the full embedding matrix each row of the trimmed one is.

    Token ids that are kept and below the trimmed size keep their places if they are special tokens.
    """

    kept: NDArray[np.int64]
    """[K] row of the trimmed matrix -> token id"""
    places: NDArray[np.int32]
    """[V] token id -> row of the trimmed matrix, -1 where it was cut"""
    source: Matrix
    """[V, H] the full matrix as loaded: mapped from a file, not held in memory"""
    pad_token_id: int | None = None
    """The configuration's, where it names a row while the vocabulary is trimmed: families that run whole look for
    padding among the ids themselves. None: it was left as it is."""

    @property
    def size(self) -> int:
        """K, rows kept."""
        return len(self.kept)

    @property
    def full_size(self) -> int:
        """V, rows of the full matrix."""
        return len(self.places)

    def to_trimmed(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """Token ids -> rows of the trimmed matrix, in any shape.

        Raises:
            RunError: an id that was cut: the texts are not those that the vocabulary was trimmed for.
        """
        rows = self.places[ids]
        if rows.size and int(rows.min()) < 0:
            raise RunError(
                f"token id {int(np.asarray(ids)[rows < 0].flat[0])} was cut from the vocabulary: these texts were not "
                "part of the data that it was trimmed for"
            )
        return rows

    def to_full(self, rows: NDArray[np.int32]) -> NDArray[np.int64]:
        """Rows of the trimmed matrix -> token ids: the inverse of `to_trimmed`."""
        return self.kept[rows]

    def full_chunks(self, trimmed_KH: Tensor) -> Iterator[Matrix]:
        """The full matrix with the trimmed rows put back, some thousand rows at a time and in order.

        Rows that were cut come from the source bit for bit; so do kept rows that training never touched.
        """
        trained = trimmed_KH.detach().cpu().numpy()
        for start in range(0, self.full_size, _CHUNK):
            chunk = np.array(self.source[start : start + _CHUNK])
            rows = self.places[start : start + _CHUNK]
            present = np.flatnonzero(rows >= 0)
            chunk[present] = trained[rows[present]]
            yield chunk
            release(self.source)

    def restore_config(self, config: Any) -> None:
        """Puts the token id back where a trimmed network's configuration names the row that stands for padding."""
        if self.pad_token_id is not None:
            config.pad_token_id = self.pad_token_id

    def restore(self, hf: nn.Module) -> None:
        """Puts the full matrix back into the model, trained rows in their places."""
        anatomy = Anatomy(hf)
        trimmed = anatomy.word_embeddings
        full = torch.empty(self.full_size, trimmed.embedding_dim)
        start = 0
        for chunk in self.full_chunks(trimmed.weight):
            full[start : start + len(chunk)] = torch.from_numpy(chunk)
            start += len(chunk)
        self.restore_config(anatomy.config)
        padding = trimmed.padding_idx
        _put(anatomy, full, None if padding is None else int(self.kept[padding]), trimmed.weight)


def trim_vocabulary(
    hf: nn.Module, used_ids: Iterable[int] | NDArray[np.integer[Any]], special_ids: Iterable[int], source: str | Path
) -> tuple[VocabularyMap, Change] | None:
    """Cuts the embedding rows that no text of the run uses.

    Batches carry `VocabularyMap.to_trimmed` ids from here on; positions are passed explicitly, so that no family
    derives them from ids.

    Args:
        used_ids: token ids of all splits.
        special_ids: the tokenizer's special ids, kept used or not.
        source: folder or Hub name that the model was loaded from; its file stands for the full matrix where it holds
            it in float32, otherwise a temporary file does.

    Returns:
        The map and the change; None where every row is used.
    """
    anatomy = Anatomy(hf)
    embedding = anatomy.word_embeddings
    full_size = embedding.num_embeddings
    special = {int(index) for index in special_ids} | special_ids_of(anatomy.config)
    special = {index for index in special if 0 <= index < full_size}
    used = np.union1d(np.asarray(used_ids, dtype=np.int64).ravel(), np.array(sorted(special), dtype=np.int64))
    if len(used) == full_size:
        return None
    before = Counts.of(hf)
    kept = _arrange(used, special)
    places = np.full(full_size, -1, dtype=np.int32)
    places[kept] = np.arange(len(kept), dtype=np.int32)
    pad = anatomy.config.pad_token_id if not anatomy.family.is_packed else None
    pad = pad if pad in special else None
    if pad is not None:
        anatomy.config.pad_token_id = int(places[pad])
    vocabulary = VocabularyMap(kept, places, _source_of(anatomy, source), pad)
    padding = None if embedding.padding_idx is None else int(places[embedding.padding_idx])
    # Read from the map: transformers' own pages of the matrix are never touched, hence never in memory.
    _put(anatomy, torch.from_numpy(_gather(vocabulary.source, kept)), padding, embedding.weight)
    rows = f"{len(kept):,} of {full_size:,} embedding rows are used by the data"
    saved = millions((full_size - len(kept)) * embedding.embedding_dim)
    change = before.change(
        "trim_vocabulary",
        f"{rows}: {saved} parameters fewer while training, all rows saved",
        hf,
        rows=len(kept),
        full_rows=full_size,
    )
    return vocabulary, change


def cut_for_good(hf: nn.Module, kept: NDArray[np.int64]) -> None:
    """Leaves these rows of the embedding matrix alone, and puts their new ids into the configuration.

    There is no way back from here: the model goes with a tokenizer of the same ids (`glotune.data.kept_pieces`).

    Args:
        kept: [K] new id -> old id.

    Raises:
        UserError: the family counts positions from the padding's id, and that would be another one.
    """
    anatomy = Anatomy(hf)
    config, embedding = anatomy.config, anatomy.word_embeddings
    new_id = {int(old): new for new, old in enumerate(kept)}
    pad = config.pad_token_id
    if anatomy.family.positions_after_padding and new_id.get(pad) != pad:
        raise UserError(
            f"{anatomy.family.name} counts positions from the padding's id, {pad}, which would be another one",
            remedy="Export with the full vocabulary: leave --languages and --texts out",
        )
    for role in ROLES:
        index = getattr(config, f"{role}_token_id", None)
        if isinstance(index, int):
            setattr(config, f"{role}_token_id", new_id.get(index))
    config.vocab_size = len(kept)
    padding = None if embedding.padding_idx is None else new_id[embedding.padding_idx]
    _put(anatomy, embedding.weight.detach()[torch.from_numpy(kept)].clone(), padding, embedding.weight)


ROLES = ("pad", "bos", "eos", "cls", "sep", "decoder_start", "unk", "mask")
"""Special tokens that a configuration may name as ``ROLE_token_id``."""


def special_ids_of(config: Any) -> set[int]:
    """The ids of special tokens that a configuration names."""
    found = (getattr(config, f"{role}_token_id", None) for role in ROLES)
    return {index for index in found if isinstance(index, int)}


def _arrange(used: NDArray[np.int64], special: set[int]) -> NDArray[np.int64]:
    """Row -> id: a special id sits at its own place where the trimmed matrix reaches it, the others in order."""
    size = len(used)
    at_home = np.array(sorted(index for index in special if index < size), dtype=np.int64)
    kept = np.empty(size, dtype=np.int64)
    free = np.ones(size, dtype=bool)
    kept[at_home] = at_home
    free[at_home] = False
    kept[free] = np.setdiff1d(used, at_home)
    return kept


def _gather(source: Matrix, kept: NDArray[np.int64]) -> Matrix:
    rows = np.empty((len(kept), source.shape[1]), dtype=np.float32)
    for start in range(0, len(kept), _CHUNK // 4):
        piece = slice(start, start + _CHUNK // 4)
        rows[piece] = source[kept[piece]]
        release(source)
    return rows


def _put(anatomy: Anatomy, matrix: Tensor, padding: int | None, like: Tensor) -> None:
    """Puts the matrix into every module that looks up in the old one, in its own way: some scale, and some are two."""
    old = anatomy.word_embeddings.weight
    weight = nn.Parameter(matrix.to(like.device), requires_grad=like.requires_grad)
    for module in anatomy.core.modules():
        if isinstance(module, nn.Embedding) and module.weight is old:
            module.weight, module.num_embeddings = weight, len(matrix)
            module.padding_idx = None if module.padding_idx is None else padding


def _source_of(anatomy: Anatomy, source: str | Path) -> Matrix:
    weight = anatomy.word_embeddings.weight.detach().cpu().numpy()
    mapped = map_matrix(source, anatomy.family.word_embeddings.rpartition(".")[2] + ".weight", weight.shape)
    if mapped is not None and _same(mapped, weight):
        return mapped
    with tempfile.TemporaryFile(prefix="glotune-embeddings-") as file:
        copy: Matrix = np.memmap(file, dtype=np.float32, mode="w+", shape=weight.shape)
        copy[:] = weight
        copy.flush()  # type: ignore[attr-defined]
        return copy


def _same(mapped: Matrix, weight: Matrix) -> bool:
    """Whether rows all over the file's matrix are those that were loaded, bit for bit.

    Name, shape and type agree already; a full comparison would bring both matrices into memory.
    """
    rows = np.unique(np.linspace(0, len(mapped) - 1, _PROBES, dtype=np.int64))
    return np.array_equal(mapped[rows].view(np.uint32), weight[rows].view(np.uint32))
