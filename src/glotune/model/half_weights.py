"""Weights in half precision, as products take them on accelerators: the trained cast once a step, the frozen held.

Autocast casts a trained weight in every micro-batch and a frozen one at every use. Between two updates no weight
changes, so one cast of each serves all micro-batches that share them; what is never trained can be held in half
precision from the start (24 layers 1,024 wide: 0.6 GB in place of 1.2 GB and 0.6 GB of casts). The numbers are
autocast's, bit for bit. On a CPU `glotune.model.cpu.packed_weights` does the like.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from glotune.model.cpu.packed_weights import PackedWeights

BYTES = 2
"""Of each weight, held while a step's micro-batches share its cast."""


class CastLinear(nn.Linear):
    """``nn.Linear``; within `packed_weights`, under autocast, by a cast of its weight that all micro-batches share."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out]"""
        if self.weight.dtype != torch.float32 or not _is_shared(self.weight):
            return super().forward(input)
        bias = None if self.bias is None else laid_together([self.bias])
        return functional.linear(input, laid_together([self.weight]), bias)


def use_cast_once(hf: nn.Module) -> None:
    """Puts `CastLinear` in the place of every plain ``nn.Linear``, adapters' frozen ones included."""
    for module in hf.modules():
        if type(module) is nn.Linear:
            module.__class__ = CastLinear


def laid_together(weights: Sequence[Tensor]) -> Tensor:
    """Weights one after the other by their first dimension; within `packed_weights`, under autocast, in its precision,
    made once for all micro-batches."""
    if not _is_shared(weights[0]):
        return torch.cat(list(weights)) if len(weights) > 1 else weights[0]
    shared = PackedWeights.current()
    assert shared is not None
    copy = shared.laid_together(tuple(weights), torch.get_autocast_dtype(weights[0].device.type))
    return _Cast.apply(copy, *weights)


def _is_shared(weight: Tensor) -> bool:
    if torch.compiler.is_compiling():  # what is compiled would keep one step's casts for ever, and fuses its own
        return False
    kind = weight.device.type
    if PackedWeights.current() is None or not torch.amp.is_autocast_available(kind):
        return False
    return torch.is_autocast_enabled(kind)


class _Cast(torch.autograd.Function):
    """A cast that was made before, as if it were made now: gradients go to the weights in their own precision."""

    @staticmethod
    def forward(ctx: Any, copy: Tensor, *weights: Tensor) -> Tensor:
        """Args: copy: the weights one after the other, in half precision."""
        ctx.dtype = weights[0].dtype
        ctx.rows = [len(weight) for weight in weights]
        return copy.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Of each weight."""
        return (None, *grad.to(ctx.dtype).split(ctx.rows))


def cast_bytes(module: nn.Module) -> int:
    """What the casts of a module's weights take in a step, more than autocast's own: it keeps those of trained weights
    through a pass too, and drops the others. Nothing of those that are held in half precision."""
    maps = [part for part in module.modules() if isinstance(part, CastLinear)]
    dropped = [part for part in maps if not part.weight.requires_grad and part.weight.dtype == torch.float32]
    return sum(BYTES * part.weight.numel() for part in dropped)


@dataclass(frozen=True)
class HeldInHalf:
    """Frozen weights in half precision, and what they were."""

    originals: list[tuple[nn.Parameter, Tensor]]
    """(weight, its source in fp32 on the host)"""

    @classmethod
    def of(cls, hf: nn.Module, dtype: torch.dtype) -> HeldInHalf:
        """Holds the frozen linear maps of a model in `dtype`, as autocast gives them to every product.

        Norms and embeddings stay: autocast computes with them in fp32. So does an output layer that is tied to the
        embeddings, what would leave fp16's range, and what DoRA takes the norm of.
        """
        originals = []
        for parameter in _frozen_maps(hf):
            half = parameter.detach().to(dtype)
            if not bool(half.isfinite().all()):
                continue
            originals.append((parameter, parameter.detach().cpu()))
            parameter.data = half
        return cls(originals)

    @property
    def saved(self) -> int:
        """Bytes."""
        return sum(original.nbytes - parameter.nbytes for parameter, original in self.originals)

    def restore(self) -> None:
        """The weights as they were, bit for bit."""
        for parameter, original in self.originals:
            parameter.data = original.to(parameter.device)
        self.originals.clear()


def _frozen_maps(hf: nn.Module) -> Iterator[nn.Parameter]:
    """Each once."""
    kept = {id(value) for module in hf.modules() if isinstance(module, nn.Embedding) for value in module.parameters()}
    for module in hf.modules():
        if getattr(module, "lora_variant", None):
            kept |= {id(value) for value in module.parameters()}
    for module in hf.modules():
        if not isinstance(module, nn.Linear):
            continue
        for value in module.parameters(recurse=False):
            if id(value) not in kept and not value.requires_grad and value.dtype == torch.float32:
                kept.add(id(value))
                yield value
