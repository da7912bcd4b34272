"""Cross-entropy of classes: against a label or a distribution over labels, weighted, smoothed, focal.

The loss of an effective batch is a sum over its texts divided by `total_weight`, which the host knows before the first
forward pass: the same under any cut of the batch (contract C2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glotune.data.spelling import name_of
from glotune.errors import UserError, did_you_mean

ClassWeights = Literal["none", "balanced"] | dict[str, float]


def class_weights(
    spec: ClassWeights,
    labels: NDArray[np.int16],
    names: list[str],
    weights_N: NDArray[np.float32] | None = None,
    shares_NC: NDArray[np.float32] | None = None,
) -> NDArray[np.float32] | None:
    """[C] weights, or None for none.

    ``balanced`` is ``n / (C * count)`` over the training labels, as scikit-learn's `compute_class_weight`
    (King & Zeng 2001); a row counts as often as its weight says, and of votes for each class by its share.

    Raises:
        UserError: explicit weights name an unknown label or leave one out.
    """
    if spec == "none":
        return None
    if spec == "balanced":
        found = class_frequencies(labels, len(names), weights_N, shares_NC)
        return (found.sum() / (len(names) * found)).astype(np.float32)
    return explicit_weights("loss.class_weights", spec, names)


def class_frequencies(
    labels: NDArray[np.int16],
    num_labels: int,
    weights_N: NDArray[Any] | None = None,
    shares_NC: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """[C] how often each class stands in N texts: weighted, and of votes by their shares."""
    if shares_NC is None:
        return np.bincount(labels, weights_N, num_labels).astype(np.float64)
    counts_N = np.ones(len(labels)) if weights_N is None else weights_N.astype(np.float64)
    return np.asarray(counts_N @ shares_NC.astype(np.float64), dtype=np.float64)


def explicit_weights(key: str, spec: Mapping[str, float], names: list[str]) -> NDArray[np.float32]:
    """[C] the weights that a recipe gives by name, in the order of the labels.

    Raises:
        UserError: they name an unknown label or leave one out.
    """
    expected = f"one weight for each of: {', '.join(names)}"
    for name in spec:
        if name_of(name) not in map(name_of, names):
            raise UserError(f"{key} names the label '{name}'", expected=expected, remedy=did_you_mean(name, names))
    weights = {name_of(name): weight for name, weight in spec.items()}
    missing = [name for name in names if name_of(name) not in weights]
    if missing:
        raise UserError(f"{key} has no weight for '{missing[0]}'", expected=expected)
    return np.array([weights[name_of(name)] for name in names], dtype=np.float32)


def summed_loss(
    logits_BC: Tensor,
    labels: Tensor,
    weights_C: Tensor | None,
    label_smoothing: float,
    weights_B: Tensor | None = None,
) -> Tensor:
    """Sum of the weighted losses of a micro-batch, in fp32.

    The effective batch's loss is the sum of these over its micro-batches divided by `total_weight`: torch's
    definition of the weighted mean with label smoothing (`torch.nn.functional.cross_entropy`). A row of weight 2
    enters both as two such rows would.
    """
    if weights_B is None:
        return functional.cross_entropy(
            logits_BC.float(), labels, weight=weights_C, label_smoothing=label_smoothing, reduction="sum"
        )
    losses_B = functional.cross_entropy(
        logits_BC.float(), labels, weight=weights_C, label_smoothing=label_smoothing, reduction="none"
    )
    return (losses_B * weights_B).sum()


def shares_of(labels: Tensor, num_labels: int) -> Tensor:
    """[B, C] fp32: 1 for the class of each text; 0 throughout for texts without one."""
    return functional.one_hot(labels.clamp(min=0), num_labels).float() * (labels >= 0).float().unsqueeze(1)


def soft_losses(
    logits_BC: Tensor,
    shares_BC: Tensor,
    weights_C: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    """[B] fp32, the cross-entropy of each text against a distribution over classes.

    Of a distribution with one class it is `torch.nn.functional.cross_entropy`, smoothing and weights included; as
    torch's of class probabilities, but that the loss of a text whose shares are all 0 is 0 whatever the smoothing.

    Args:
        shares_BC: each row sums to 1, or is 0 for a text without a label.
        focal_gamma: what is said of a class counts (1 - p)^gamma, see `focused`.
    """
    spread_BC = shares_BC.sum(dim=1, keepdim=True) / shares_BC.shape[1]
    aims_BC = shares_BC * (1.0 - label_smoothing) + label_smoothing * spread_BC
    logs_BC = functional.log_softmax(logits_BC.float(), dim=1)
    losses_BC = focused(-logs_BC, -torch.expm1(logs_BC), focal_gamma) * aims_BC
    return (losses_BC if weights_C is None else losses_BC * weights_C).sum(dim=1)


def focused(losses: Tensor, missed: Tensor, gamma: float) -> Tensor:
    """The focal loss (Lin et al. 2017, arXiv:1708.02002, equation 4): ``(1 - p)^gamma`` times each loss.

    Args:
        missed: 1 - p, the probability that the truth was not given.
        gamma: 0 leaves the losses as they are.
    """
    # At 0 the power's own derivative is infinite below gamma 1; the least float32 keeps it finite and the loss 0.
    return missed.clamp(min=torch.finfo(missed.dtype).tiny) ** gamma * losses if gamma else losses


def divergences(first_BC: Tensor, second_BC: Tensor) -> Tensor:
    """[B] fp32: half the sum of both Kullback-Leibler divergences between two answers, in nats; gradients go into
    both."""
    one, other = (functional.log_softmax(each.float(), dim=1) for each in (first_BC, second_BC))
    # KL(p || q) + KL(q || p) = sum (p - q) (log p - log q)
    return 0.5 * ((one.exp() - other.exp()) * (one - other)).sum(dim=1)


def total_weight(
    labels: NDArray[np.int16],
    weights_C: NDArray[np.float32] | None,
    weights_B: NDArray[np.float32] | None = None,
    shares_BC: NDArray[np.float32] | None = None,
) -> float:
    """Sum over an effective batch of each row's weight times the class weight of its label (of votes its mean by their
    shares), computed on the host."""
    if shares_BC is not None:
        counts_B = shares_BC.astype(np.float64) @ (np.ones(shares_BC.shape[1]) if weights_C is None else weights_C)
        return float(counts_B.sum() if weights_B is None else counts_B @ weights_B)
    if weights_B is None:
        return float(len(labels)) if weights_C is None else float(weights_C[labels].sum(dtype=np.float64))
    return float((weights_B if weights_C is None else weights_B * weights_C[labels]).sum(dtype=np.float64))


def text_losses(logits_BC: Tensor, labels: Tensor) -> Tensor:
    """[B] plain cross-entropy per text, unweighted and unsmoothed: what evaluations report."""
    return functional.cross_entropy(logits_BC.float(), labels, reduction="none")
