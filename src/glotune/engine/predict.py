"""Texts in, logits out: a bounded window at a time, packed, each distinct text computed once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from glotune.data.batches import collate, cut
from glotune.data.encoding import Encoding, Text
from glotune.engine.forward import forward
from glotune.model.cpu.tune import tune
from glotune.model.network import Network

WINDOW = 2048
"""Texts sorted by length together: enough for micro-batches of like lengths, little enough for flat memory."""
REMEMBERED = 16_384
"""Answers kept for texts that come again, some megabytes."""


class Answers(NamedTuple):
    """What the network says of N texts."""

    logits_NC: NDArray[np.float64]
    truncated_N: NDArray[np.bool_]
    """Which texts are longer than it reads."""


@dataclass
class Engine:
    """A network in evaluation mode with its encoding.

    The logits of a text depend on its neighbours only by rounding (about 1e-6 in fp32).
    """

    network: Network
    encoding: Encoding
    device: str
    precision: Literal["fp32", "bf16"]
    token_budget: int
    """Most tokens in one micro-batch, counted as the attention product sees them."""
    _known: OrderedDict[bytes, tuple[NDArray[np.float64], bool]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.network.to(self.device).eval()
        tune(self.network, self.device, self.precision, training=False)

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
            logits_NC, truncated_N = self._compute(list(new.values()))
            self._known.update(zip(new, zip(logits_NC, truncated_N.tolist(), strict=True), strict=True))
        found = [self._known[key] for key in keys]
        for key in keys:
            self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return Answers(np.stack([logits_C for logits_C, _ in found]), np.array([cut for _, cut in found]))

    def _compute(self, texts: list[Text]) -> Answers:
        store = self.encoding.store(texts)
        pieces = [rows for rows, _ in cut(np.arange(len(texts)), store.lengths, self.token_budget)]
        answers: NDArray[np.float64] | None = None
        for batch, logits_BC in forward(
            (collate(store, rows) for rows in pieces),
            self.network,
            device=torch.device(self.device),
            precision=self.precision,
            several=len(pieces) > 1,
        ):
            found = logits_BC.double().cpu().numpy()
            if answers is None:
                answers = np.empty((len(texts), found.shape[1]))
            answers[batch.rows] = found
        assert answers is not None
        return Answers(answers, store.raw_lengths > store.lengths)


def _key(text: Text) -> bytes:
    parts = text if isinstance(text, tuple) else (text,)
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.digest()
