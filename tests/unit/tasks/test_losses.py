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
from glotune.tasks.single_label import class_weights, summed_loss, total_weight


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
