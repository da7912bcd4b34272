"""Texts in, logits out: a bounded window at a time, packed, each distinct text computed once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from glotune.data.batches import collate, cut, filled
from glotune.data.encoding import Encoding, Text
from glotune.data.tokenization import TokenStore
from glotune.engine.accelerator import settle, within_memory
from glotune.engine.forward import Collected, forward
from glotune.engine.plan import choose_precision
from glotune.model.card import Card
from glotune.model.cpu.tune import tune
from glotune.model.network import Network, head_width
from glotune.model.packed.comparison import compared
from glotune.model.packed.kernels import BLOCKS, kernels_of

WINDOW = 2048
"""Texts sorted by length together: enough for micro-batches of like lengths, little enough for flat memory."""
REMEMBERED = 16_384
"""Answers kept for texts that come again, some megabytes."""


class Answers(NamedTuple):
    """What a model says of N texts."""

    logits_NC: NDArray[np.float64]
    truncated_N: NDArray[np.bool_]
    """Which texts are longer than it reads."""
    outside_N: NDArray[np.bool_]
    """Which texts hold pieces that were cut from its vocabulary for good."""


class Answering(Protocol):
    """A trained classifier by whatever computes it."""

    @property
    def device(self) -> str:
        """``cpu``, ``cuda`` or ``mps``."""

    @property
    def precision(self) -> str:
        """Of its products: ``fp32``, ``bf16``, ``fp16`` or ``int8``."""

    @property
    def parameters(self) -> int:
        """How many numbers were trained, or came with the encoder."""

    def logits(self, store: TokenStore) -> NDArray[np.float64]:
        """Logits_NC of the N texts of a store, in their order."""


@dataclass
class TorchModel:
    """A network in evaluation mode, texts packed.

    The logits of a text depend on its neighbours only by rounding (about 1e-6 in fp32).
    """

    network: Network
    device: str
    precision: Literal["fp32", "bf16"]
    token_budget: int
    """Most tokens in one micro-batch, counted as the attention product sees them."""

    def __post_init__(self) -> None:
        device = torch.device(self.device)
        if device.type == "cuda":  # a CPU computes in bf16 without instructions for it, more slowly
            choose_precision(self.precision, Card.of(device), self.network.hidden_size, key="precision")
        settle(device, deterministic=False)
        self.network.to(device).eval()
        tune(self.network, self.device, self.precision, training=False)
        if device.type != "cpu" and self.network.packed:
            anatomy = self.network.anatomy
            kernels, _ = kernels_of(Card.of(device), head_width(anatomy))
            heads, width = int(anatomy.config.num_attention_heads), head_width(anatomy)
            self.network.kernels = kernels if kernels == BLOCKS else compared(kernels, heads, width, device)[0]

    @property
    def parameters(self) -> int:
        """See `Answering.parameters`."""
        return sum(each.numel() for each in self.network.hf.parameters())

    def logits(self, store: TokenStore) -> NDArray[np.float64]:
        """See `Answering.logits`."""
        longest, device = int(store.costs.max()), torch.device(self.device)
        return within_memory(partial(self._logits, store), self.token_budget, longest, device, self._do_with)

    def _do_with(self, token_budget: int) -> None:
        """Memory ran out: for the texts to come, too."""
        self.token_budget = token_budget

    def _logits(self, store: TokenStore, token_budget: int) -> NDArray[np.float64]:
        pieces = [rows for rows, _ in cut(np.arange(len(store)), store.costs, token_budget)]
        device, collected = torch.device(self.device), Collected(len(store))
        made = (collate(store, rows, uncounted=self.network.uncounted) for rows in pieces)
        batches = map(filled, made) if self.network.kernels == BLOCKS else made
        for batch, logits_BC in forward(
            (batch.pinned() for batch in batches) if device.type == "cuda" else batches,
            self.network,
            device=device,
            precision=self.precision,
            several=len(pieces) > 1,
        ):
            collected.add(batch.rows, logits_BC)
        logits_NC = collected.all()
        assert logits_NC is not None, "there is at least one text"
        return logits_NC


@dataclass
class Engine:
    """A model with its encoding."""

    model: Answering
    encoding: Encoding
    _known: OrderedDict[bytes, tuple[NDArray[np.float64], bool, bool]] = field(default_factory=OrderedDict)

    def forget(self) -> None:
        """Computes texts anew that it has answered before."""
        self._known.clear()

    def stream(self, texts: Iterable[Text], window: int = WINDOW) -> Iterator[Answers]:
        """The answers to each window of `texts`, in their order; memory does not grow with their number."""
        waiting = iter(texts)
        while taken := list(islice(waiting, window)):
            yield self.answers(taken)

    def answers(self, texts: Sequence[Text]) -> Answers:
        """The answers to N > 0 texts in their order, all in one window."""
        keys = [_key(text) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if new:
            found = self._compute(list(new.values()))
            self._known.update(zip(new, zip(*found, strict=True), strict=True))
        known = [self._known[key] for key in keys]
        for key in keys:
            self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        logits, truncated, outside = zip(*known, strict=True)
        return Answers(np.stack(logits), np.array(truncated), np.array(outside))

    def _compute(self, texts: list[Text]) -> Answers:
        encoded = self.encoding.encode(texts)
        logits_NC = self.model.logits(self.encoding.packed(encoded, pairs=isinstance(texts[0], tuple)))
        truncated, outside = [each.is_cut for each in encoded], [each.is_outside for each in encoded]
        return Answers(logits_NC, np.array(truncated), np.array(outside))


def _key(text: Text) -> bytes:
    parts = text if isinstance(text, tuple) else (text,)
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.digest()
