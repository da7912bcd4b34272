"""Class weights and the loss of an effective batch, against torch and scikit-learn."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from glotune.errors import UserError
from glotune.tasks.cross_entropy import class_weights, shares_of, soft_losses, summed_loss, total_weight


@given(
    labels=st.lists(st.integers(0, 2), min_size=2, max_size=20),
    cuts=st.lists(st.integers(1, 19), max_size=4),
    smoothing=st.sampled_from([0.0, 0.1, 0.3]),
    weighted=st.booleans(),
)
def test_a_cut_loss_is_torchs_weighted_mean_over_the_whole_batch(
    labels: list[int], cuts: list[int], smoothing: float, weighted: bool
) -> None:
    generator = torch.Generator().manual_seed(len(labels))
    logits = torch.randn(len(labels), 3, generator=generator, dtype=torch.float32)
    truth = torch.tensor(labels)
    weights = np.array([0.5, 1.0, 4.0], dtype=np.float32) if weighted else None
    tensor = None if weights is None else torch.from_numpy(weights)
    expected = functional.cross_entropy(logits, truth, weight=tensor, label_smoothing=smoothing)
    edges = sorted({0, len(labels), *[cut for cut in cuts if cut < len(labels)]})
    pieces = [slice(start, stop) for start, stop in itertools.pairwise(edges)]
    summed = sum(summed_loss(logits[piece], truth[piece], tensor, smoothing) for piece in pieces)
    assert float(summed) / total_weight(np.array(labels, dtype=np.int16), weights) == pytest.approx(
        float(expected), rel=1e-5
    )


@given(weights=st.lists(st.integers(1, 4), min_size=2, max_size=12), smoothing=st.sampled_from([0.0, 0.2]))
def test_a_row_of_weight_n_counts_as_n_such_rows(weights: list[int], smoothing: float) -> None:
    generator = torch.Generator().manual_seed(len(weights))
    logits = torch.randn(len(weights), 3, generator=generator)
    labels = np.arange(len(weights), dtype=np.int16) % 3
    classes, rows = np.array([0.5, 1.0, 4.0], np.float32), np.array(weights, np.float32)
    repeated = np.repeat(np.arange(len(weights)), weights)
    for weights_C in (None, classes):
        tensor = None if weights_C is None else torch.from_numpy(weights_C)
        truth = torch.from_numpy(labels.astype(np.int64))
        one = summed_loss(logits, truth, tensor, smoothing, torch.from_numpy(rows))
        many = summed_loss(logits[repeated], truth[repeated], tensor, smoothing)
        assert float(one) == pytest.approx(float(many), rel=1e-5)
        assert total_weight(labels, weights_C, rows) == pytest.approx(total_weight(labels[repeated], weights_C))
    names = ["a", "b", "c"][: len(set(labels.tolist()))]
    assert class_weights("balanced", labels, names, rows) == pytest.approx(
        class_weights("balanced", labels[repeated], names), rel=1e-6
    )


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.array([0] * 7 + [1] * 2 + [2] * 5, dtype=np.int16)
    found = class_weights("balanced", labels, ["a", "b", "c"])
    assert found == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=labels), rel=1e-6)


def test_explicit_weights_name_every_label() -> None:
    labels = np.array([0, 1], dtype=np.int16)
    assert class_weights({"bad": 2.0, "good": 1.0}, labels, ["good", "bad"]).tolist() == [1.0, 2.0]  # type: ignore[union-attr]
    with pytest.raises(UserError, match="Did you mean 'good'"):
        class_weights({"goood": 1.0, "bad": 1.0}, labels, ["good", "bad"])
    with pytest.raises(UserError, match="no weight for 'bad'"):
        class_weights({"good": 1.0}, labels, ["good", "bad"])


def test_weights_are_met_in_any_spelling_of_a_label() -> None:
    weights = class_weights({"cafe\u0301": 2.0, "bar": 1.0}, np.array([0, 1], np.int16), ["bar", "caf\u00e9"])
    assert weights is not None
    assert weights.tolist() == [1.0, 2.0]


# ---- distributions of votes, focal loss ----------------------------------------------------------------


def test_soft_labels_are_torchs_class_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(12, 4, generator=generator)
    shares = torch.rand(12, 4, generator=generator).softmax(dim=1)
    weights = torch.tensor([0.5, 1.0, 2.0, 3.0])
    theirs = functional.cross_entropy(logits, shares, weight=weights, label_smoothing=0.1, reduction="none")
    assert torch.allclose(soft_losses(logits, shares, weights, 0.1), theirs, atol=1e-6)
    labels = shares.argmax(dim=1)
    hard = functional.cross_entropy(logits, labels, weight=weights, label_smoothing=0.1, reduction="none")
    assert torch.allclose(soft_losses(logits, shares_of(labels, 4), weights, 0.1), hard, atol=1e-6)


def test_a_text_without_a_label_adds_nothing_whatever_the_smoothing() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    losses = soft_losses(logits, shares_of(torch.tensor([-100, 1]), 3), None, 0.1, 2.0)
    losses.sum().backward()
    assert float(losses[0].detach()) == 0.0
    assert logits.grad is not None
    assert (logits.grad[0] == 0).all()


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_is_the_papers(gamma: float) -> None:
    """Lin et al. 2017, equation 4: (1 - p)^gamma times -log p, for the class that is true."""
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.3, 0.2, 0.1], [60.0, 0.0, 0.0], [-90.0, 90.0, 0.0]], requires_grad=True)
    labels = torch.tensor([0, 2, 0, 0])
    losses = soft_losses(logits, shares_of(labels, 3), None, 0.0, gamma)
    truth = logits.detach().double().softmax(dim=1)[torch.arange(4), labels]
    assert losses[:2].tolist() == pytest.approx(((1 - truth) ** gamma * -truth.log())[:2].tolist(), rel=1e-5)
    losses.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_focal_exponent_of_nothing_is_cross_entropy() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    assert torch.allclose(
        soft_losses(logits, shares_of(labels, 3)), functional.cross_entropy(logits, labels, reduction="none")
    )


def test_the_denominator_counts_votes_by_their_shares() -> None:
    shares = np.array([[0.75, 0.25], [0.0, 1.0]], np.float32)
    labels, weights = np.array([0, 1], np.int16), np.array([1.0, 4.0], np.float32)
    assert total_weight(labels, None, None, shares) == 2.0
    assert total_weight(labels, weights, np.array([2.0, 1.0], np.float32), shares) == pytest.approx(2 * 1.75 + 4.0)
    assert class_weights("balanced", labels, ["a", "b"], None, shares) == pytest.approx([2 / 1.5, 2 / 2.5])
