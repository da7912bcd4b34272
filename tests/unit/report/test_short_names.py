"""Names in pictures: cut where words end, and each another."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glotune.report.drawing.style import distinct, middle

VARIANTS = [
    "six-layers", "six-layers-frozen", "six-layers-frozen-cached", "six-layers-high-rate",
    "six-layers-frozen-high-rate", "six-layers-embeddings-trained", "v2-decay-smoothing-batch-warmup",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "most", "cut"),
    [
        ("six-layers-frozen", 22, "six-layers-frozen"),
        ("six-layers-embeddings-trained", 22, "six…embeddings-trained"),
        ("six-layers-frozen-high-rate", 22, "six…frozen-high-rate"),
        ("v2-decay-smoothing-batch-warmup", 22, "v2-decay…batch-warmup"),
        ("abcdefghijklmnopqrstuvwxyz", 11, "abcde…vwxyz"),
    ],
)
def test_names_are_cut_between_words_where_they_can_be(name: str, most: int, cut: str) -> None:
    assert middle(name, most) == cut


def test_variants_of_a_study_keep_apart() -> None:
    alike = ["six-layers-high-rate", "six-layers-frozen-high-rate"]
    assert [middle(name, 15) for name in alike] == ["six…high-rate", "six…high-rate"]
    assert distinct(alike, 15) == ["six-layers-high-rate", "six…frozen-high-rate"]
    assert len(set(distinct(VARIANTS, 12))) == len(VARIANTS)


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab-_", min_size=1, max_size=40)), st.integers(6, 30))
def test_each_is_another_and_none_longer_than_it_was(names: list[str], most: int) -> None:
    cut = distinct(names, most)
    assert len(set(cut)) == len(set(names))
    assert all(len(short) <= max(most, len(name)) for short, name in zip(cut, names, strict=True))
    assert all(len(middle(name, most)) <= most for name in names)
