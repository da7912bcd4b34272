"""Texts longer than a model reads: which of their tokens are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from glotune.data.windows import Reach

Strategy = Literal["head", "head_tail"]


def kept_positions(sequence_ids: list[int | None], max_length: int, strategy: Strategy) -> list[int]:
    """Positions of the tokens to keep, at most `max_length`, in order.

    Special tokens stay. Of a pair, the longer text is cut first, until both are equally long. ``head`` keeps the
    first tokens, ``head_tail`` the first half of the budget and the last (arXiv:1905.05583, section 5.3.1).

    Args:
        sequence_ids: per token 0 or 1 for the text it belongs to, None for a special token, [L].
        max_length: most tokens to keep, special tokens included.
        strategy: which part is kept.
    """
    texts = [[i for i, owner in enumerate(sequence_ids) if owner == text] for text in (0, 1)]
    special = len(sequence_ids) - len(texts[0]) - len(texts[1])
    budgets = longest_first(len(texts[0]), len(texts[1]), max(max_length - special, 0))
    dropped: set[int] = set()
    for positions, budget in zip(texts, budgets, strict=True):
        head = budget if strategy == "head" else (budget + 1) // 2
        dropped.update(positions[head : len(positions) - (budget - head)])
    return [i for i in range(len(sequence_ids)) if i not in dropped]


def longest_first(first: int, second: int, budget: int) -> tuple[int, int]:
    """How many tokens two texts may keep together: the longer one gives way first, as in `tokenizers`."""
    short, long = sorted((first, second))
    long = short if short > budget else max(short, min(long, budget - short))
    if short + long > budget:
        short, long = budget // 2, budget // 2 + budget % 2
    return (short, long) if first <= second else (long, short)


@dataclass(frozen=True)
class Cutting:
    """What becomes of texts that are longer than `max_length`."""

    reach: Reach
    strategy: Strategy

    def cut(self, encoding: Any) -> tuple[list[int], list[int]]:
        """Token ids and token types that are read of such a text's `tokenizers.Encoding`; windows end to end."""
        owners = encoding.sequence_ids
        if self.reach.windows is None:
            kept = kept_positions(owners, self.reach.max_length, self.strategy)
        else:
            kept = self.reach.positions(owners, int(self.reach.counts(np.array(len(owners)))))
        ids, types = encoding.ids, encoding.type_ids
        return [ids[i] for i in kept], [types[i] for i in kept]
