"""Long texts in windows that overlap: how a text is cut into them, and how much of it is read.

A text's windows stand end to end in the token store, special tokens in each, as transformers' tokenizers give them by
``return_overflowing_tokens``. All but the last of a text are full, so that their number says where each begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glotune.errors import UserError

if TYPE_CHECKING:
    from glotune.recipe.data_keys import Pool, Windows
    from glotune.recipe.settings import TokenSettings


@dataclass(frozen=True)
class Reach:
    """How much of a text is read: `max_length` tokens, or several windows of so many."""

    max_length: int
    special: int
    """Tokens that the tokenizer adds to every text, and so to every window."""
    windows: Windows | None = None

    @classmethod
    def of(cls, data: TokenSettings, special: int) -> Reach:
        """As a recipe says.

        Raises:
            UserError: `max_length` leaves no room for a text, or a window holds nothing new beside its stride.
        """
        if data.max_length <= special:
            raise UserError(
                f"{data.max_length} tokens leave no room beside {special} special tokens",
                where="data.max_length",
                expected=f"at least {special + 1}",
            )
        reach = cls(data.max_length, special, data.windows)
        if reach.step < 1:
            assert data.windows is not None
            raise UserError(
                f"windows of {data.max_length} tokens, {special} of them special, can't share {data.windows.stride} "
                "with the one before",
                where="data.windows.stride",
                expected=f"less than {data.max_length - special}, or a larger data.max_length",
            )
        return reach

    @property
    def overlap(self) -> int:
        """Tokens of a window that were read before it: those that it shares with the one before, and special ones."""
        return self.special + (0 if self.windows is None else self.windows.stride)

    @property
    def step(self) -> int:
        """Tokens from the beginning of a window to that of the next."""
        return self.max_length - self.overlap

    @property
    def most(self) -> int:
        """Windows of a text. Where the first alone answers, no other is read: it would change nothing."""
        return 1 if self.windows is None or self.windows.pool == "first" else self.windows.most

    @property
    def tokens(self) -> int:
        """Most tokens of a text that are read, special ones counted once."""
        return self.max_length + (self.most - 1) * self.step

    def counts(self, raw_lengths: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
        """Windows of texts of so many tokens, special ones included: one more for each step until the end is read."""
        more = -(-(raw_lengths.astype(np.int64) - self.max_length) // self.step)
        return np.clip(1 + more, 1, self.most).astype(np.int32)

    def positions(self, sequence_ids: list[int | None], count: int) -> list[int]:
        """Positions of the tokens of a single text's first `count` windows, end to end.

        Args:
            sequence_ids: per token 0, None for a special token, [L].
        """
        text = [place for place, owner in enumerate(sequence_ids) if owner is not None]
        before, after = list(range(text[0])), list(range(text[-1] + 1, len(sequence_ids)))
        body = self.max_length - self.special
        starts = range(0, count * self.step, self.step)
        return [place for start in starts for place in (*before, *text[start : start + body], *after)]


@dataclass(frozen=True)
class Windowing:
    """How the N texts of a store are cut into windows."""

    counts: NDArray[np.int32]
    """[N]"""
    reach: Reach

    @property
    def pool(self) -> Pool:
        """How the logits of a text's windows become those of the text."""
        assert self.reach.windows is not None
        return self.reach.windows.pool

    @cached_property
    def most(self) -> int:
        """M: windows of the text that has the most."""
        return int(self.counts.max())

    def lengths(self, rows: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """[S] tokens of every window of these texts in turn.

        Args:
            tokens: [B] of all windows of each text.
        """
        counts = self.counts[rows].astype(np.int64)
        found = np.full(int(counts.sum()), self.reach.max_length, np.int64)
        found[np.cumsum(counts) - 1] = tokens - (counts - 1) * self.reach.max_length
        return found

    def starts(self, rows: NDArray[np.int64], texts: NDArray[np.int64]) -> NDArray[np.int64]:
        """[S] where every window of these texts begins, given where the texts do, [B]."""
        counts = self.counts[rows].astype(np.int64)
        numbers = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(texts, counts) + numbers * self.reach.max_length

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """[B, M] where the windows of each of these texts stand among all of theirs; -1 after its last."""
        counts = self.counts[rows].astype(np.int64)[:, None]
        numbers = np.arange(self.most)
        return np.where(numbers < counts, np.cumsum(counts)[:, None] - counts + numbers, -1)
