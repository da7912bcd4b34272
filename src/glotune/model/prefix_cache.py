"""The output of the frozen prefix, computed once per text and read ever after (contract C5).

Filled in a pass of its own whose cut into batches is fixed, so that a warm store and a cold one hold the same bits.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glotune.data.batches import IdMap, PackedBatch, collate
from glotune.data.cache import damage_of, open_or_build
from glotune.data.tokenization import TokenStore
from glotune.errors import UserError
from glotune.model.card import Card
from glotune.model.families import own_type
from glotune.model.network import Network
from glotune.model.surgery.counting import Counts
from glotune.run.records import Change
from glotune.words import size

Precision = Literal["fp32", "bf16"]
"""Of what is kept."""
Progress = Callable[[int, int], None]
"""(tokens done, tokens in all)"""
OnWarning = Callable[[str], None]
States = Callable[[Iterable[PackedBatch]], Iterator[tuple[PackedBatch, Tensor]]]
"""Each batch with the output of the frozen prefix, in the run's precision."""

FILE = "hidden.bin"
FILL_TOKENS = 4096
"""Tokens in one batch of the filling pass, whatever the run's budget: the cut is part of the key."""
RESERVE = 1 << 30
"""Bytes of disk that are left free."""
_FORMAT = 2
_BYTES: dict[str, int] = {"fp32": 4, "bf16": 2}
_NOT_IN_KEY = ("id2label", "label2id", "problem_type", "architectures", "dtype", "num_hidden_layers", "_name_or_path")


@dataclass(frozen=True)
class Decision:
    """Whether a split's prefix is cached, and why."""

    use: bool
    reason: str
    size: int
    """Bytes that the store takes."""


@dataclass(frozen=True)
class Use:
    """What a run makes of the prefix of one split."""

    visits: int
    """How often each text is read: epochs for training texts, evaluations for others."""
    by_other_runs: bool = False
    """They read the same texts behind the same layers."""
    is_fixed: bool = True
    """A text's prefix is the same at every visit: no augmentation, no move of its embeddings."""


@dataclass(frozen=True)
class PrefixStore:
    """Hidden states of every text of one split, memory-mapped: ``[total_tokens, H]``."""

    hidden: NDArray[Any]
    """[total_tokens, H] float32, or uint16 holding bf16"""
    offsets: NDArray[np.int64]
    """[N + 1] first token of each text"""
    precision: Precision
    warm: bool
    """It was there already."""

    def rows(self, rows: NDArray[np.int64]) -> Tensor:
        """Hidden_TH of these texts end to end, float32, on the host."""
        parts = [self.hidden[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        joined = np.concatenate(parts)
        if self.precision == "fp32":
            return torch.from_numpy(joined)
        return torch.from_numpy(joined.view(np.int16)).view(torch.bfloat16).float()


@dataclass(frozen=True)
class Prefixes:
    """What came of it for all splits."""

    stores: dict[str, PrefixStore] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    change: Change | None = None
    """None where the network has no frozen prefix."""


@dataclass(frozen=True)
class Filling:
    """How the prefix is computed: what the network, the batches and the machine are."""

    network: Network
    states: States
    """The engine's forward pass through the prefix: in the run's precision, as in training."""
    compute: str
    """What `states` computes in; part of the key."""
    device: torch.device
    id_map: IdMap | None = None

    def fill(self, store: TokenStore, precision: Precision, path: Path, progress: Progress | None) -> None:
        """Writes the hidden states of every text to `path`, in batches of similar length.

        Raises:
            OSError: the disk is full (found before anything is computed).
        """
        width = self.network.hidden_size * _BYTES[precision]
        total = int(store.offsets[-1])
        cut = fixed_cut(store.lengths)
        batches = (
            collate(store, rows, id_map=self.id_map, by_text=True, uncounted=self.network.uncounted) for rows in cut
        )
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, total * width))
            done = 0
            for batch, hidden_TH in self.states(batches):
                done += self._write(file.fileno(), store, batch.rows, _as_bytes(hidden_TH, precision), width)
                if progress is not None:
                    progress(done, total)

    @staticmethod
    def _write(file: int, store: TokenStore, rows: NDArray[np.int64], data: memoryview, width: int) -> int:
        start = 0
        for row in rows:
            length = int(store.lengths[row])
            piece = data[start * width : (start + length) * width]
            if os.pwrite(file, piece, int(store.offsets[row]) * width) != len(piece):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            start += length
        return start

    def key(self, store: TokenStore, precision: Precision) -> str:
        """Names all that the content depends on: weights of the prefix, texts, depth, precision, machine, cut."""
        digest = hashlib.sha256()
        anatomy = self.network.anatomy
        config = {name: value for name, value in anatomy.config.to_dict().items() if _matters(name)}
        config["model_type"] = own_type(anatomy.config)  # the head reads behind the prefix
        machine = (
            torch.__version__,
            torch.backends.cpu.get_cpu_capability(),
            torch.get_num_threads(),
            _machine_of(self.device),
        )
        about = (_FORMAT, FILL_TOKENS, self.network.prefix_depth, precision, self.compute, machine, config)
        digest.update(json.dumps(about, sort_keys=True, default=str).encode())
        for array in (store.tokens, store.token_types, store.offsets):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).data)
        if store.windows is not None:  # where positions begin anew
            digest.update(np.ascontiguousarray(store.sequence_lengths(np.arange(len(store)))).data)
        self._hash_weights(digest, store.distinct_tokens())
        return f"prefix-{digest.hexdigest()[:40]}"

    def _hash_weights(self, digest: Any, ids: NDArray[np.int32]) -> None:
        """Of the word embeddings only the rows that these texts use: trimming changes no key."""
        anatomy = self.network.anatomy
        words = anatomy.word_embeddings.weight
        rows = torch.from_numpy((ids if self.id_map is None else self.id_map(ids)).astype(np.int64))
        digest.update(words.detach()[rows.to(words.device)].cpu().numpy().data)
        parts = [*anatomy.embeddings, *anatomy.layers[: self.network.prefix_depth or 0]]
        for part in parts:
            for name, value in part.named_parameters():
                if value is not words:
                    digest.update(name.encode())
                    # By bytes: NumPy has no bf16, in which frozen weights may be held.
                    digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def _machine_of(device: torch.device) -> str:
    """The same for every GPU of one model: ranks and later runs share what one has filled."""
    return device.type if device.type != "cuda" else f"cuda {Card.of(device).name}"


def _matters(key: str) -> bool:
    """Whether a key of the configuration bears on the prefix's output, in which no dropout acts."""
    return key not in _NOT_IN_KEY and "dropout" not in key


def fixed_cut(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """All rows by length, in batches of about `FILL_TOKENS`: a function of the lengths alone."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or (stop + 1 - start) * int(lengths[order[stop]]) > FILL_TOKENS:
            yield order[start:stop]
            start = stop


def estimated_size(network: Network, store: TokenStore, precision: Precision) -> int:
    """Bytes that the store of a split takes."""
    return int(store.offsets[-1]) * network.hidden_size * _BYTES[precision]


def decide(network: Network, store: TokenStore, *, use: Use, precision: Precision, cache: Path) -> Decision:
    """Whether caching a split's prefix pays and fits.

    Args:
        cache: folder of the cache; older prefixes in it make room where that helps.
    """
    needed = estimated_size(network, store, precision)
    if network.prefix_depth is None:
        return Decision(False, "nothing in front of the first trained weight is fixed", needed)
    if network.prefix_depth == 0:
        return Decision(
            False,
            "only the embeddings are fixed: looking them up (2 us a token) costs no more than reading them",
            needed,
        )
    if not use.is_fixed:
        why = "another one at every visit, as its texts are augmented or their embeddings moved"
        return Decision(False, why, needed)
    if use.visits < 2 and not use.by_other_runs:
        return Decision(False, "each text is read once: there is nothing to save", needed)
    room = _room(cache)
    if needed + RESERVE > room:
        return Decision(False, f"{size(needed)} asked, {size(max(0, room - RESERVE))} free in {cache}", needed)
    instead = f"instead of {use.visits} times" if use.visits > 1 else "for all runs that read these texts"
    saved = f"{network.prefix_depth} of {network.num_layers} layers computed once {instead}"
    return Decision(True, f"{saved}, {size(needed)} on disk", needed)


def open_or_fill(
    filling: Filling,
    store: TokenStore,
    *,
    precision: Precision,
    cache: Path,
    on_warning: OnWarning | None = None,
    progress: Progress | None = None,
) -> PrefixStore:
    """The store of a split: opened where an earlier run left it whole, filled otherwise.

    A store that is corrupt, half-written or of other weights is never used. Processes that want the same store
    wait for the one that fills it.

    Raises:
        UserError: no place to write to.
    """
    key = filling.key(store, precision)
    size = estimated_size(filling.network, store, precision)
    with _locked(cache, key):
        if damage_of(cache / key, key) is not None:
            _make_room(cache, size + RESERVE, keep=key)
        folder, warm = open_or_build(
            cache, key, lambda aside: filling.fill(store, precision, aside / FILE, progress), on_warning=on_warning
        )
        if warm:
            os.utime(folder)
    shape = (int(store.offsets[-1]), filling.network.hidden_size)
    kind = np.float32 if precision == "fp32" else np.uint16
    hidden = np.memmap(folder / FILE, dtype=kind, mode="r", shape=shape)
    return PrefixStore(hidden, np.asarray(store.offsets), precision, warm)


def cache_prefixes(
    filling: Filling,
    stores: Mapping[str, TokenStore],
    uses: Mapping[str, Use],
    *,
    precision: Precision,
    cache: Path,
    on_warning: OnWarning | None = None,
    progress: Progress | None = None,
) -> Prefixes:
    """Decides for every split, fills or opens what is worth it, and records what came of it.

    What can't be written after all is recomputed, with a warning.
    """
    network = filling.network
    if network.prefix_depth is None:
        return Prefixes()
    counts = Counts.of(network.hf)
    decisions = {
        split: decide(network, store, use=uses[split], precision=precision, cache=cache)
        for split, store in stores.items()
    }
    opened: dict[str, PrefixStore] = {}
    for split, decision in decisions.items():
        if not decision.use:
            continue
        try:
            opened[split] = open_or_fill(
                filling, stores[split], precision=precision, cache=cache, on_warning=on_warning, progress=progress
            )
        except UserError as error:  # a quota or another writer took the room that was there when it was decided
            decisions[split] = Decision(False, error.found, decision.size)
            if on_warning is not None:
                on_warning(f"the frozen prefix of {split} is recomputed: {error.found}")
    reasons: dict[str, list[str]] = {}
    for split, decision in decisions.items():
        reasons.setdefault(decision.reason, []).append(split)
    how = "; ".join(f"{', '.join(splits)}: {reason}" for reason, splits in reasons.items())
    change = counts.change(
        "prefix_cache",
        f"frozen prefix {'cached' if opened else 'recomputed'} ({how})",
        network.hf,
        depth=network.prefix_depth,
        bytes=sum(decisions[split].size for split in opened),
        splits={split: split in opened for split in decisions},
    )
    return Prefixes(opened, decisions, change)


def _as_bytes(hidden_TH: Tensor, precision: Precision) -> memoryview:
    if precision == "fp32":
        return hidden_TH.float().cpu().contiguous().numpy().data.cast("B")
    return hidden_TH.to(torch.bfloat16).cpu().contiguous().view(torch.int16).numpy().data.cast("B")


def _room(cache: Path) -> int:
    """Bytes free where the cache is, plus what its older prefixes hold."""
    held = sum(_size_of(entry) for entry in _entries(cache))
    return shutil.disk_usage(_existing(cache)).free + held


def _make_room(cache: Path, needed: int, keep: str) -> None:
    """Removes the prefixes that were used longest ago until `needed` bytes are free; open maps of them stay valid."""
    for entry in sorted(_entries(cache), key=lambda path: path.stat().st_mtime):
        if shutil.disk_usage(_existing(cache)).free >= needed:
            return
        if entry.name != keep:
            shutil.rmtree(entry, ignore_errors=True)


def _entries(cache: Path) -> list[Path]:
    return [path for path in cache.glob("prefix-*") if path.is_dir()]


def _size_of(entry: Path) -> int:
    try:
        return (entry / FILE).stat().st_size
    except OSError:
        return 0


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


@contextmanager
def _locked(cache: Path, key: str) -> Iterator[None]:
    """One process at a time for an entry; without a lock where the cache can't be written."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / f".{key}.lock").open("wb")
    except OSError:
        lock = (Path(tempfile.gettempdir()) / f".glotune-{key}.lock").open("wb")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
