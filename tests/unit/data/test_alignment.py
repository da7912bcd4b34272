"""IBM model 1: expected counts by hand, the textbook's loops, and what both directions agree on."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from glotune.data import alignment
from glotune.data.alignment import induced, model_1, within_reach

Pairs = list[tuple[list[int], list[int]]]


def table(pairs: Pairs, rounds: int) -> dict[tuple[int, int], float]:
    found = model_1([np.array(one) for one, _ in pairs], [np.array(other) for _, other in pairs], rounds)
    keys = zip(found.sources.tolist(), found.targets.tolist(), strict=True)
    return dict(zip(keys, found.probabilities.tolist(), strict=True))


def by_loops(pairs: Pairs, rounds: int) -> dict[tuple[int, int], float]:
    """As Brown et al. write it down, with the empty word 0."""
    likely: defaultdict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    for _ in range(rounds):
        counts: defaultdict[tuple[int, int], float] = defaultdict(float)
        totals: defaultdict[int, float] = defaultdict(float)
        for sources, targets in pairs:
            for target in targets:
                norm = sum(likely[source, target] for source in [0, *sources])
                for source in [0, *sources]:
                    counts[source, target] += likely[source, target] / norm
                    totals[source] += likely[source, target] / norm
        likely.update({key: count / totals[key[0]] for key, count in counts.items()})
    return dict(likely)


def test_one_round_by_hand() -> None:
    # Target 1 of the first pair comes from the empty word, 1 or 2, a third each; that of the second from the empty
    # word or 1, a half each. So 1 gives target 1 in 1/3 + 1/2 of a case, and target 2 in 1/3.
    found = table([([1, 2], [1, 2]), ([1], [1])], rounds=1)
    assert found == {
        (0, 1): pytest.approx(5 / 7), (0, 2): pytest.approx(2 / 7),
        (1, 1): pytest.approx(5 / 7), (1, 2): pytest.approx(2 / 7),
        (2, 1): pytest.approx(1 / 2), (2, 2): pytest.approx(1 / 2),
    }  # fmt: skip


def test_later_rounds_are_the_textbooks() -> None:
    rng = np.random.default_rng(0)
    pairs: Pairs = [
        (rng.integers(1, 7, rng.integers(1, 6)).tolist(), rng.integers(1, 6, rng.integers(1, 6)).tolist())
        for _ in range(12)
    ]
    expected, found = by_loops(pairs, 4), table(pairs, 4)
    assert found.keys() == expected.keys()
    assert all(found[key] == pytest.approx(value, abs=1e-12) for key, value in expected.items())
    together = model_1([np.array([1, 1]), np.array([1])], [np.array([2]), np.array([2])])
    assert together.together[together.sources == 1].tolist() == [2], "sentence pairs, not words"


def test_what_both_directions_agree_on() -> None:
    texts = [("the house", "das haus"), ("the book", "das buch"), ("a book", "ein buch"), ("a house", "ein haus")]
    pairs = [(one.split(), other.split()) for one, other in texts]
    assert induced(pairs) == {"the": "das", "house": "haus", "book": "buch", "a": "ein"}
    assert induced([*pairs, (["seen", "once"], ["einmal", "gesehen"])]) == induced(pairs)
    assert induced([]) == induced([([], ["leer"])]) == {}


def test_no_more_than_fits_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "MOST_CELLS", 20)
    assert within_reach([(["a", "b"], ["c", "d"])] * 5) == 3
