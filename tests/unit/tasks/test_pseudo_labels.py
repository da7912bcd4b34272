"""Which texts a round of self-training learns from, and when its labels have collapsed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glotune.tasks.pseudo_labels import Select, aligned, choose, is_one_class

SURE, HALF, FLAT = [0.9, 0.05, 0.05], [0.5, 0.5, 0.0], [0.46, 0.27, 0.27]


def test_confidence_and_uncertainty_order_texts_differently() -> None:
    shares = np.array([FLAT, HALF, SURE], np.float32)
    languages = np.zeros(3, np.int16)
    assert choose(shares, languages, "confidence", 0.5).tolist() == [1, 2], "0.5 is more than 0.46"
    flat, torn = np.array([0.5, 0.25, 0.25]), np.array([0.48, 0.48, 0.04])
    shares = np.stack([flat, torn]).astype(np.float32)
    assert choose(shares, languages[:2], "confidence", 0.5).tolist() == [0]
    assert choose(shares, languages[:2], "uncertainty", 0.5).tolist() == [1], "of less entropy, and less probable"


def test_balance_takes_as_many_of_each_class_as_there_are_answers() -> None:
    many, few = [0.8, 0.1, 0.1], [0.1, 0.6, 0.3]
    shares = np.array([many] * 8 + [few], np.float32)
    chosen = choose(shares, np.zeros(9, np.int16), "balanced", 1.0)
    assert chosen.tolist() == [0, 1, 2, 8], "three of the first class, the one answer of the second, none of the third"


@pytest.mark.parametrize("select", ["confidence", "uncertainty", "balanced"])
@given(
    seed=st.integers(0, 2**16), share=st.floats(0.01, 1.0), counts=st.lists(st.integers(1, 30), min_size=1, max_size=4)
)
def test_every_language_gives_its_share(select: Select, seed: int, share: float, counts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    languages = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int16)
    shares = rng.dirichlet([1, 1, 1], len(languages)).astype(np.float32)
    chosen = choose(shares, languages, select, share)
    assert (np.diff(chosen) > 0).all(), "each once, in order"
    answers = shares.argmax(axis=1)
    for language, count in enumerate(counts):
        own = chosen[languages[chosen] == language]
        wanted = int(np.ceil(share * count))
        if select == "balanced":
            each = int(np.ceil(wanted / 3))
            there = np.bincount(answers[languages == language], minlength=3)
            assert np.bincount(answers[own], minlength=3).tolist() == np.minimum(each, there).tolist()
        else:
            assert len(own) == wanted


@given(seed=st.integers(0, 2**16), share=st.floats(0.01, 1.0))
def test_a_larger_share_takes_the_same_texts_and_more(seed: int, share: float) -> None:
    shares = np.random.default_rng(seed).dirichlet([1, 1, 1], 40).astype(np.float32)
    languages = np.arange(40, dtype=np.int16) % 3
    for select in ("confidence", "uncertainty", "balanced"):
        small, large = (choose(shares, languages, select, each) for each in (share / 2, share))
        assert set(small.tolist()) <= set(large.tolist())


def test_one_class_is_a_collapse_unless_the_labels_are_so_too() -> None:
    assert is_one_class(np.array([98, 1, 1]), np.array([40, 30, 30]))
    assert not is_one_class(np.array([90, 5, 5]), np.array([40, 30, 30]))
    assert not is_one_class(np.array([97, 3]), np.array([970, 30])), "a rare class is no collapse"
    assert is_one_class(np.array([100, 0]), np.array([970, 30]))


@given(seed=st.integers(0, 2**16), wanted=st.lists(st.floats(0.05, 1.0), min_size=3, max_size=3))
def test_aligned_answers_name_each_class_as_often_as_is_wanted(seed: int, wanted: list[float]) -> None:
    rng = np.random.default_rng(seed)
    languages = np.repeat(np.arange(2), 30).astype(np.int16)
    answers = rng.dirichlet([1, 1, 1], 60).astype(np.float32)
    shares = np.array(wanted) / np.sum(wanted)
    moved = aligned(answers, languages, shares)
    assert np.allclose(moved.sum(axis=1), 1.0, atol=1e-5)
    for language in (0, 1):
        own = languages == language
        assert np.allclose(moved[own].mean(axis=0), shares, atol=1e-5)
        logs = np.log(moved[own]) - np.log(answers[own])
        shift = logs - logs[:, :1]
        assert np.allclose(shift, shift[0], atol=1e-3), "one shift for each class, the same for all texts of a language"
        alone = aligned(answers[own], languages[own], shares)
        assert np.array_equal(alone, moved[own]), "whatever other languages there are"


def test_answers_that_are_as_frequent_already_stay() -> None:
    answers = np.array([[0.75, 0.25], [0.25, 0.75]], np.float32)
    assert np.array_equal(aligned(answers, np.zeros(2, np.int16), np.array([0.5, 0.5])), answers)


def test_a_class_that_no_labelled_text_has_is_never_named() -> None:
    moved = aligned(
        np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], np.float32), np.zeros(2, np.int16), np.array([0.5, 0.5, 0.0])
    )
    assert moved[:, 2].tolist() == [0.0, 0.0]
