from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glotune.tasks.contrast import hits_at_1, info_nce, sentence_vectors
from glotune.tasks.masked_lm import Vocabulary, mask_tokens, summed_masked_loss, token_losses

VOCABULARY = Vocabulary(size=50, mask_id=49, special_ids=(0, 1, 2, 3, 49))


@given(st.lists(st.integers(0, 49), min_size=1, max_size=200), st.floats(0.05, 0.95), st.integers(0, 2**32 - 1))
def test_only_ordinary_tokens_are_hidden_and_only_hidden_ones_predicted(
    tokens: list[int], probability: float, seed: int
) -> None:
    given_tokens = np.array(tokens, np.int32)
    masked = mask_tokens(given_tokens, VOCABULARY, probability, np.random.default_rng(seed))
    special = np.isin(given_tokens, VOCABULARY.special_ids)
    assert not masked.chosen[special].any()
    assert (masked.tokens[~masked.chosen] == given_tokens[~masked.chosen]).all()
    changed = masked.tokens != given_tokens
    replaced = changed & (masked.tokens != VOCABULARY.mask_id)
    assert not np.isin(masked.tokens[replaced], VOCABULARY.special_ids).any()


def test_shares_of_masking() -> None:
    tokens = np.full(100_000, 10, np.int32)
    masked = mask_tokens(tokens, VOCABULARY, 0.15, np.random.default_rng(0), predicted_share=0.5)
    assert (masked.tokens == 49).mean() == pytest.approx(0.15 * 0.8, abs=0.005)
    replaced = (masked.tokens != 49) & (masked.tokens != 10)
    assert replaced.mean() == pytest.approx(0.15 * 0.1 * 44 / 45, abs=0.003)
    assert masked.chosen.mean() == pytest.approx(0.15 * 0.5, abs=0.005)


def test_masks_follow_the_generator_alone() -> None:
    tokens = np.arange(4, 44, dtype=np.int32)
    first, again, other = (
        mask_tokens(tokens, VOCABULARY, 0.3, np.random.default_rng(seed)).tokens for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_masked_loss_without_predicted_tokens_is_zero_and_has_a_gradient() -> None:
    logits = torch.zeros(0, 7, requires_grad=True)
    loss = summed_masked_loss(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0.0


def test_token_losses_add_up() -> None:
    logits, targets = torch.randn(6, 9), torch.randint(0, 9, (6,))
    assert token_losses(logits, targets).sum().item() == pytest.approx(summed_masked_loss(logits, targets).item())


def naive_info_nce(left: torch.Tensor, right: torch.Tensor, temperature: float) -> float:
    total, count = 0.0, len(left)
    for asks, answers in ((left, right), (right, left)):
        for i in range(count):
            scores = [
                math.exp(float(torch.cosine_similarity(asks[i], answers[j], dim=0)) / temperature) for j in range(count)
            ]
            total -= math.log(scores[i] / sum(scores)) / (2 * count)
    return total


@given(st.integers(2, 8), st.floats(0.05, 1.0), st.integers(0, 1000))
def test_info_nce_is_the_definition(count: int, temperature: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, right = torch.randn(count, 5, generator=generator), torch.randn(count, 5, generator=generator)
    found = info_nce(left, right, temperature).item()
    assert found == pytest.approx(naive_info_nce(left, right, temperature), rel=1e-4, abs=1e-5)


def test_a_repeated_translation_is_no_wrong_answer() -> None:
    vectors = torch.eye(3)
    left, right = vectors[[0, 0, 1]], vectors[[0, 0, 1]]
    alike = torch.tensor([[False, True, False], [True, False, False], [False, False, False]])
    assert info_nce(left, right, 0.05, alike).item() == pytest.approx(0.0, abs=1e-6)
    assert info_nce(left, right, 0.05).item() > 0.4


def test_hits_both_ways() -> None:
    left, right = torch.tensor([[1.0, 0.0], [0.9, 0.1]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    forth, back = hits_at_1(left, right)
    assert forth.tolist() == [True, False]
    assert back.tolist() == [True, True]


def test_sentence_vectors_pool_first_and_mean() -> None:
    hidden = torch.tensor([[1.0], [3.0], [10.0]])
    first, mean = sentence_vectors(hidden, torch.tensor([0, 2, 3], dtype=torch.int32), "both")
    assert first.flatten().tolist() == [1.0, 10.0]
    assert mean.flatten().tolist() == [2.0, 10.0]
    assert len(sentence_vectors(hidden, torch.tensor([0, 2, 3]), "mean")) == 1
