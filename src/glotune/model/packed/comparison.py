"""Does a variable-length kernel answer as the padded product does? Asked on the device that is going to run it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from glotune.model.card import Card
from glotune.model.packed.attention import attend
from glotune.model.packed.kernels import PADDED, Kernel, Kernels
from glotune.model.packed.packing import Packing

TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 3e-2, torch.float16: 1e-2}
"""Relative error, by the norm, of an attention product and of its gradients. A wrong bound, scale or mask is off by
more than a tenth."""
LENGTHS, WINDOW = (3, 17, 1, 64, 40, 5), 8
RATE = 0.1
"""Dropout rate that is tried."""
WEIGHTS = 100_000
"""Whose dropout is counted, at least: enough to tell a rate from one that is off by half a point."""
ROUNDED = 1 / 255
"""Flash attention draws one byte for each weight: it rounds the rate so."""


@dataclass(frozen=True)
class Faults:
    """Where a kernel answers otherwise than the padded product, in words."""

    product: list[str]
    dropout: list[str]
    """Under dropout alone."""


def compared(kernels: Kernels, heads: int, width: int, device: torch.device) -> tuple[Kernels, dict[Kernel, list[str]]]:
    """The kernels that answer as the padded product does, and the faults of the others.

    One that fails under dropout alone is kept for what has none (`Kernels.undropped`): torch 2.11's memory-efficient
    attention draws one mask for all texts and heads, and its gradient another, where texts are told by their bounds.
    """
    half = torch.float16 if Card.of(device).has_fp16 and not Card.of(device).has_bf16 else torch.bfloat16
    faults: dict[Kernel, list[str]] = {}
    left, undropped = [kernels.half, kernels.full], set[Kernel]()
    for place, dtype in enumerate((half, torch.float32)):
        if (kernel := left[place]) == "sdpa":
            continue
        found = _faults_of(kernels, kernel, heads, width, dtype, device)
        if said := [*found.product, *found.dropout]:
            faults[kernel] = said
        if found.product:
            left[place] = "sdpa"
        elif found.dropout:
            undropped.add(kernel)
    sound = replace(kernels, half=left[0], full=left[1], undropped=kernels.undropped | undropped)
    return sound, faults


def _faults_of(
    kernels: Kernels, kernel: Kernel, heads: int, width: int, dtype: torch.dtype, device: torch.device
) -> Faults:
    found = Faults([], [])
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        for place, faults in (
            (found.product, _faults_of_product(kernels, kernel, heads, width, dtype, device)),
            (found.dropout, _faults_of_dropout(kernels, heads, width, dtype, device)),
        ):
            try:
                place += [f"{kernel} attention, {fault}" for fault in faults]
            except (RuntimeError, TypeError, NotImplementedError) as error:
                place.append(f"{kernel} attention fails: {str(error).splitlines()[0]}")
            if place:
                break
    return found


def _faults_of_product(
    kernels: Kernels, kernel: Kernel, heads: int, width: int, dtype: torch.dtype, device: torch.device
) -> Iterator[str]:
    tensors = torch.randn(3, sum(LENGTHS), heads, width, device=device, dtype=dtype)
    for window in (None, WINDOW) if kernel == "flash" else (None,):
        for pooled in (False, True):
            answers = [_answers(tensors, which, pooled, window) for which in (kernels, PADDED)]
            for name, fast, plain in zip(("output", "gradient"), *answers, strict=True):
                if (error := relative_error(fast, plain)) > TOLERANCES[dtype]:
                    yield f"the {name} is off by {error:.2g}"


def _packing(lengths: Sequence[int], device: torch.device, kernels: Kernels) -> Packing:
    bounds = torch.tensor(np.concatenate([[0], np.cumsum(lengths)]), dtype=torch.int32, device=device)
    return Packing(tuple(lengths), bounds, device, kernels)


def _answers(tensors: Tensor, kernels: Kernels, pooled: bool, window: int | None) -> tuple[Tensor, Tensor]:
    """The product and its gradient by query, key and value."""
    packing = _packing(LENGTHS, tensors.device, kernels)
    given = tensors.clone().requires_grad_()
    query, key, value = given
    query = query.index_select(0, packing.starts_B) if pooled else query
    output = attend(query, key, value, packing, window=window)
    weights = torch.linspace(-1, 1, output.numel(), device=output.device).view_as(output)
    (gradient,) = torch.autograd.grad((output * weights).sum(), given)
    return output.detach(), gradient


def _faults_of_dropout(
    kernels: Kernels, heads: int, width: int, dtype: torch.dtype, device: torch.device
) -> Iterator[str]:
    """Without scores every weight is 1 / L; with unit vectors as values the output shows each weight as it was used."""
    texts = -(-WEIGHTS // (heads * width**2))
    packing = _packing([width] * texts, device, kernels)
    nothing = torch.zeros(texts * width, heads, width, device=device, dtype=dtype)
    unit = torch.eye(width, device=device, dtype=dtype).repeat(texts, 1).unsqueeze(1).expand_as(nothing)
    value = unit.clone().requires_grad_()

    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return attend(nothing, nothing, value, packing, dropout=RATE)

    used = weights(1)
    found = used.detach().float()
    share = float((found == 0).float().mean())
    if abs(share - RATE) > ROUNDED + 5 * (RATE * (1 - RATE) / found.numel()) ** 0.5:
        yield f"dropout of {RATE:g} zeroes {share:.2%} of the weights"
    kept = found[found != 0] * width * (1 - RATE)
    if kept.numel() == 0 or float((kept - 1).abs().max()) > TOLERANCES[dtype]:
        yield "dropout scales the weights that it keeps otherwise than by 1 / (1 - rate)"
    if not torch.equal(found, weights(1).detach().float()):
        yield "the same seed draws another dropout mask"
    if torch.equal(found, weights(2).detach().float()):
        yield "every seed draws the same dropout mask"
    upstream = torch.randn_like(used)
    (gradient,) = torch.autograd.grad(used, value, upstream)
    by_text = [tensor.detach().float().unflatten(0, (texts, width)) for tensor in (used, upstream)]
    expected = torch.einsum("tqak,tqad->tkad", *by_text).flatten(0, 1)
    if relative_error(gradient, expected) > TOLERANCES[dtype]:
        yield "the gradient is taken under another dropout mask than the output"


def relative_error(fast: Tensor, plain: Tensor) -> float:
    """|fast - plain| / |plain|; infinite where anything is not finite."""
    error = float((fast.float() - plain.float()).norm() / plain.float().norm().clamp(min=1e-12))
    return error if np.isfinite(error) else float("inf")
