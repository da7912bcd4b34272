"""A dictionary induced from sentence pairs: IBM model 1 in both directions, kept where the two agree.

Model 1 knows no word order and has one optimum, whatever it starts from (Brown et al. 1993, Computational Linguistics
19(2), section 4.1). Aligners with order (fast_align, eflomal) are compiled programs without wheels, and those that need
none read the pairs with an encoder of hundreds of megabytes; for a dictionary the words alone will do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

Words = Sequence[str]
Ids = NDArray[np.int64]

ROUNDS = 10
"""Of expectation and maximisation; what is likely after five hardly moves any more."""
MOST_CELLS = 5_000_000
"""Pairs of words within sentence pairs that are looked at: 20,000 pairs of 15 words, some 250 MB at the peak."""
TOGETHER = 2
"""Sentence pairs in which a word and its translation stand together, at least: one proves nothing."""
LEAST = 0.1
"""Probability of each given the other, at least."""


@dataclass(frozen=True)
class Table:
    """K pairs of a source and a target word that stand together somewhere, each once."""

    sources: Ids
    """[K], 0 is the empty word."""
    targets: Ids
    """[K]"""
    probabilities: NDArray[np.float64]
    """[K] of the target word given the source word."""
    together: Ids
    """[K] sentence pairs in which both stand."""


def within_reach(pairs: Sequence[tuple[Words, Words]]) -> int:
    """How many of the pairs, from the first, stay below `MOST_CELLS`."""
    cells = np.cumsum([(len(text) + 1) * len(translation) for text, translation in pairs])
    return int(np.searchsorted(cells, MOST_CELLS, side="right"))


def induced(pairs: Sequence[tuple[Words, Words]]) -> dict[str, str]:
    """Word -> its translation: where each is the most probable one of the other, and neither is improbable.

    Args:
        pairs: the words of a text and of its translation, in the spelling that words are looked up by.
    """
    if not any(text and translation for text, translation in pairs):
        return {}
    ids: defaultdict[str, int] = defaultdict(count(1).__next__)
    other_ids: defaultdict[str, int] = defaultdict(count(1).__next__)
    here = [np.array([ids[word] for word in text], np.int64) for text, _ in pairs]
    there = [np.array([other_ids[word] for word in text], np.int64) for _, text in pairs]
    forth, back = model_1(here, there), model_1(there, here)
    one, other = _best(forth), _best(back)
    names, other_names = ["", *ids], ["", *other_ids]
    return {
        names[source]: other_names[target]
        for source, (target, probability, together) in one.items()
        if together >= TOGETHER and probability >= LEAST and other[target][0] == source and other[target][1] >= LEAST
    }


def _best(table: Table) -> dict[int, tuple[int, float, int]]:
    """Source word -> its most probable target word, how probable it is, and how often both stand together."""
    order = np.lexsort((table.targets, -table.probabilities, table.sources))
    sources, firsts = np.unique(table.sources[order], return_index=True)
    places = order[firsts]
    columns = (table.targets[places], table.probabilities[places], table.together[places])
    found = zip(sources.tolist(), zip(*(column.tolist() for column in columns), strict=True), strict=True)
    return {source: best for source, best in found if source}


def model_1(sources: Sequence[Ids], targets: Sequence[Ids], rounds: int = ROUNDS) -> Table:
    """Translation probabilities of IBM model 1, by expectation maximisation from equal ones.

    Args:
        sources, targets: for each sentence pair the numbers of its words, from 1; the empty word joins each source.
    """
    with_empty = [np.concatenate([[0], each]) for each in sources]
    lengths = np.array([len(each) for each in targets])
    sizes = np.array([len(each) for each in with_empty])
    # A cell is a target word of a sentence and a word of its source that it may come from; a group, all cells of one
    # target word: their shares add up to 1.
    cell_sources = np.concatenate([np.tile(each, n) for each, n in zip(with_empty, lengths, strict=True)])
    cell_targets = np.concatenate([np.repeat(each, n) for each, n in zip(targets, sizes, strict=True)])
    group = np.repeat(np.arange(lengths.sum()), np.repeat(sizes, lengths))
    width = int(cell_targets.max(initial=0)) + 1
    pairs, pair = np.unique(cell_sources * width + cell_targets, return_inverse=True)
    pair_sources, pair_targets = pairs // width, pairs % width
    probabilities = np.ones(len(pairs))
    for _ in range(rounds):
        likely = probabilities[pair]
        shares = likely / np.bincount(group, likely)[group]
        expected = np.bincount(pair, shares, len(pairs))
        probabilities = expected / np.bincount(pair_sources, expected)[pair_sources]
    sentence = np.repeat(np.arange(len(sizes)), sizes * lengths)
    seen = np.unique(pair * len(sizes) + sentence) // max(len(sizes), 1)
    return Table(pair_sources, pair_targets, probabilities, np.bincount(seen, minlength=len(pairs)))
