"""Near copies of known texts among others, as the doctor finds near duplicates."""

from __future__ import annotations

import random

import pytest

from glotune.data.near_duplicates import jaccard, near_copies, shingles_of, skeleton

KNOWN = ["The food was lovely and the staff were kind to us", "La sala estaba sucia y el personal fue muy grosero"]


@pytest.mark.parametrize(
    ("text", "is_near"),
    [
        ("THE FOOD was lovely, and the staff were kind to us!! 77", True),
        ("@someone The food was lovely and the staff were kind to us http", False),
        ("The food was lovely and the staff were kind to us all", True),
        ("The staff were kind", False),
        ("ok", False),
        ("12345 !!!", False),
    ],
)  # fmt: skip
def test_case_marks_and_digits_are_no_difference(text: str, is_near: bool) -> None:
    assert near_copies(KNOWN, [text]).tolist() == [is_near]


def test_without_known_texts_nothing_is_a_copy() -> None:
    assert near_copies([], ["one text", "one text"]).tolist() == [False, False]
    assert near_copies(KNOWN, []).tolist() == []


def test_what_is_found_is_similar_and_what_is_very_similar_is_found() -> None:
    rng = random.Random(0)
    words = [f"{first}{second}" for first in ("ka", "lo", "mi", "tu", "re") for second in ("san", "per", "dol", "vik")]
    known = [" ".join(rng.choices(words, k=12)) for _ in range(40)]
    texts = []
    for text in known:
        parts = text.split()
        for place in rng.sample(range(12), k=rng.choice([0, 1, 2, 5])):
            parts[place] = rng.choice(words)
        texts.append(" ".join(parts))
    theirs, ours = ([shingles_of(skeleton(text)) for text in each] for each in (known, texts))
    nearest = [max(jaccard(each, own) for each in theirs) for own in ours]
    found = near_copies(known, texts).tolist()
    assert all(value >= 0.8 for value, is_near in zip(nearest, found, strict=True) if is_near)
    assert all(is_near for value, is_near in zip(nearest, found, strict=True) if value >= 0.9)
    assert 0 < sum(found) < len(found)
