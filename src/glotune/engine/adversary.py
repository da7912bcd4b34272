"""Adversarial training: further passes over a micro-batch whose word embeddings are moved to where its loss is larger.

It asks no task anything: the loss of a pass is the task's own, and a move follows from its gradient at the embeddings.
Each text is moved by its own gradient and by a length of its own. So a move does not depend on which texts share a
micro-batch, and the update not on how a batch is cut (C2), trimmed or packed; popular code takes one norm over all that
is computed at once, and another batch size is another method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from glotune.data.batches import PackedBatch
from glotune.recipe import schema
from glotune.tasks.task import Part


def adversarial_passes(
    spec: schema.Adversarial,
    run: Callable[[PackedBatch], Part],
    micro: PackedBatch,
    scaled: Callable[[Tensor], Tensor],
) -> Iterator[tuple[Part, float]]:
    """The passes of one step over a micro-batch, each to be carried back before the next one is asked for.

    The first is over the texts as they are. The dropout of all is the same, so that only the move differs.

    Args:
        run: the forward pass.
        micro: on its device, with a move of zeros whose gradient is wanted (`Parts.noisy`).
        scaled: the loss as it is carried back: in fp16 gradients of the loss itself would fall below its range.

    Yields:
        what a pass gives, and the share of its gradient in the update; the shares add up to 1.
    """
    share = 1.0 / (1 + spec.moves) if spec.method == "freelb" else 0.5
    noise_TE = micro.noise_TE
    assert noise_TE is not None
    yield run(micro), share
    gradient_TE = noise_TE.grad
    for number in range(1, spec.moves + 1):
        assert gradient_TE is not None
        noise_TE = moved_on(noise_TE.detach(), gradient_TE, micro, spec).requires_grad_()
        part = run(replace(micro, noise_TE=noise_TE))
        if spec.method == "freelb" or number == spec.moves:
            yield part, share
            gradient_TE = noise_TE.grad
        else:  # PGD looks for the worst move first, and learns from that alone
            (gradient_TE,) = torch.autograd.grad(scaled(part.loss), noise_TE)


def moved_on(noise_TE: Tensor, gradient_TE: Tensor, micro: PackedBatch, spec: schema.Adversarial) -> Tensor:
    """Each text's move, gone on by one stride along its gradient and brought back into the ball of epsilon.

    A text without a gradient (a dummy of a filled batch) stays where it is.
    """
    texts_T = micro.texts_T()
    gone_TE = noise_TE + spec.stride * gradient_TE / _lengths(gradient_TE, texts_T, micro)
    return gone_TE / (_lengths(gone_TE, texts_T, micro) / spec.epsilon).clamp_min(1.0)


def _lengths(values_TE: Tensor, texts_T: Tensor, micro: PackedBatch) -> Tensor:
    """[T, 1]: the Euclidean length of a text's values, at each of its tokens; never 0, so that it can divide."""
    largest = values_TE.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    squares_T = (values_TE / largest).square().sum(dim=1)  # of values near 1: gradients are too small for squares
    squares_B = squares_T.new_zeros(len(micro.lengths)).index_add(0, texts_T, squares_T)
    return (squares_B.sqrt() * largest).clamp_min(torch.finfo(torch.float32).tiny)[texts_T].unsqueeze(1)
