"""The loss of an effective batch, right under any cut of it (contract C2)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glotune.data.spelling import name_of
from glotune.errors import UserError, did_you_mean

ClassWeights = Literal["none", "balanced"] | dict[str, float]


def class_weights(
    spec: ClassWeights, labels: NDArray[np.int16], names: list[str], weights_N: NDArray[np.float32] | None = None
) -> NDArray[np.float32] | None:
    """[C] weights, or None for none.

    ``balanced`` is ``n / (C * count)`` over the training labels, as scikit-learn's `compute_class_weight`
    (King & Zeng 2001); a row counts as often as its weight says.

    Raises:
        UserError: explicit weights name an unknown label or leave one out.
    """
    if spec == "none":
        return None
    if spec == "balanced":
        found = np.bincount(labels, weights_N, len(names))
        return (found.sum() / (len(names) * found)).astype(np.float32)
    for name in spec:
        if name_of(name) not in map(name_of, names):
            raise UserError(
                f"loss.class_weights names the label '{name}'",
                expected=f"one weight for each of: {', '.join(names)}",
                remedy=did_you_mean(name, names),
            )
    weights = {name_of(name): weight for name, weight in spec.items()}
    missing = [name for name in names if name_of(name) not in weights]
    if missing:
        raise UserError(
            f"loss.class_weights has no weight for '{missing[0]}'",
            expected=f"one weight for each of: {', '.join(names)}",
        )
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


def total_weight(
    labels: NDArray[np.int16],
    weights_C: NDArray[np.float32] | None,
    weights_B: NDArray[np.float32] | None = None,
) -> float:
    """Sum over an effective batch of each row's weight times the class weight of its label, computed on the host."""
    if weights_B is None:
        return float(len(labels)) if weights_C is None else float(weights_C[labels].sum(dtype=np.float64))
    return float((weights_B if weights_C is None else weights_B * weights_C[labels]).sum(dtype=np.float64))


def text_losses(logits_BC: Tensor, labels: Tensor) -> Tensor:
    """[B] plain cross-entropy per text, unweighted and unsmoothed: what evaluations report."""
    return functional.cross_entropy(logits_BC.float(), labels, reduction="none")


def as_tensor(weights_C: NDArray[np.float32] | None, device: torch.device) -> Tensor | None:
    """The class weights on `device`."""
    return None if weights_C is None else torch.from_numpy(weights_C).to(device)
