"""bf16 products on a CPU whose weights are cast and laid out for oneDNN once, for all micro-batches that share them.

Autocast casts a trained weight in every micro-batch and a frozen one at every use, oneDNN then lays it out anew inside
each product, and the bias costs a pass of its own over the output. Between two updates no weight changes, so all of
this needs doing once. The results are the same, bit for bit. Two cores, 768 wide, 3,680 tokens: 74 -> 64 ms for the
products of a layer forward, 70 -> 63 ms for the gradients of their inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_TYPICAL_ROWS = 2048
"""oneDNN picks a layout for a number of rows; the product takes any other number too."""
NARROW = 384
"""Maps narrower than this on either side gain nothing (time without to with it, four layers forward and back, 1,024
and 4,096 tokens a micro-batch: 128 wide 0.97 and 1.02, 192 wide 0.99 and 1.00, 384 wide 1.01 and 1.04)."""
BYTES = 2 * 2
"""Held for each weight while it is trained: bf16, as it is and transposed."""


class PackedWeights:
    """Copies of weights as products want them, each made when it is first asked for."""

    def __init__(self) -> None:
        self._forward: dict[Tensor, Tensor] = {}
        self._backward: dict[Tensor, Tensor] = {}
        self._cast: dict[tuple[Tensor, ...], Tensor] = {}

    @staticmethod
    def current() -> PackedWeights | None:
        """Those in use here; None: every product prepares its weights itself."""
        return _IN_USE.get()

    def forward(self, weight_OI: Tensor) -> Tensor:
        """For ``x W'``."""
        if weight_OI not in self._forward:
            self._forward[weight_OI] = _packed(weight_OI.detach().to(torch.bfloat16))
        return self._forward[weight_OI]

    @staticmethod
    @contextmanager
    def in_use(packed: PackedWeights | None) -> Iterator[None]:
        """Within, no weight may change: what `PackedLinear` packs serves every product. None: nothing is packed."""
        token = _IN_USE.set(packed)
        try:
            yield
        finally:
            _IN_USE.reset(token)

    @staticmethod
    def here_and_again() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Contexts for activations that are computed here, and once more on the way back: there, on a GPU, another
        thread computes, which knows nothing of what is in use."""
        return nullcontext(), PackedWeights.in_use(PackedWeights.current())

    def backward(self, weight_OI: Tensor) -> Tensor:
        """For ``g W``, the gradient of x."""
        if weight_OI not in self._backward:
            self._backward[weight_OI] = _packed(weight_OI.detach().to(torch.bfloat16).t().contiguous())
        return self._backward[weight_OI]

    def laid_together(self, weights: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        """Weights one after the other in `dtype`: for accelerators, which want no other layout."""
        if weights not in self._cast:
            casts = [weight.detach().to(dtype) for weight in weights]
            self._cast[weights] = torch.cat(casts) if len(casts) > 1 else casts[0]
        return self._cast[weights]


_IN_USE: ContextVar[PackedWeights | None] = ContextVar("packed weights", default=None)


@contextmanager
def packed_weights(trained: nn.Module | None = None) -> Iterator[None]:
    """`PackedWeights.in_use`, of copies that live as long.

    Args:
        trained: its trained maps are packed at once, for both directions. They then lie side by side; packed one by
            one they leave holes among the activations (6 layers 768 wide: 110 MB).
    """
    packed = PackedWeights()
    for module in () if trained is None else trained.modules():
        if isinstance(module, PackedLinear) and module.weight.requires_grad:
            packed.forward(module.weight)
            packed.backward(module.weight)
    with PackedWeights.in_use(packed):
        yield


class PackedLinear(nn.Linear):
    """``nn.Linear``; within `packed_weights`, under bf16 autocast on a CPU, by a packed weight."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out]"""
        packed = PackedWeights.current()
        if packed is None or not _in_bf16(input):
            return super().forward(input)
        return _Product.apply(input.to(torch.bfloat16), self.weight, self.bias, packed)


class _Product(torch.autograd.Function):
    """``x W' + b`` as autocast computes it, and its gradients."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight_OI: Tensor, bias_O: Tensor | None, packed: PackedWeights) -> Tensor:
        """Args: input [..., I] bf16; weight and bias float32."""
        ctx.packed = packed
        ctx.save_for_backward(input if ctx.needs_input_grad[1] else None, weight_OI)
        return _product(input, packed.forward(weight_OI), bias_O)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """Of the input in bf16, of weight and bias in float32."""
        input, weight_OI = ctx.saved_tensors
        of_input, of_weight, of_bias, _ = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            _product(grad.contiguous(), ctx.packed.backward(weight_OI), None) if of_input else None,
            (rows.t() @ input.reshape(-1, input.shape[-1])).float() if of_weight else None,
            rows.sum(0).float() if of_bias else None,
            None,
        )


def _product(values: Tensor, packed: Tensor, bias_O: Tensor | None) -> Tensor:
    bias = None if bias_O is None else bias_O.to(values.dtype)
    return torch.ops.mkldnn._linear_pointwise(values, packed, bias, "none", [], "none")


def _packed(weight_OI: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight_OI, _TYPICAL_ROWS)


def _in_bf16(values: Tensor) -> bool:
    if values.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return False
    return torch.get_autocast_dtype("cpu") == torch.bfloat16


def use_packed_weights(hf: nn.Module, device: str, precision: str) -> bool:
    """Puts `PackedLinear` in the place of every plain ``nn.Linear`` of some width, adapters' frozen ones included.

    Args:
        device: kind of device that the model runs on.
        precision: what it computes in there.

    Returns:
        False where that is not bf16 on a CPU, or oneDNN has none: nothing changes, and nothing will be packed.
    """
    if device != "cpu" or precision != "bf16" or not onednn_packs_bf16():
        return False
    # An output layer that shares its weight with the embeddings stays: copies of a vocabulary are large.
    embeddings = {id(module.weight) for module in hf.modules() if isinstance(module, nn.Embedding)}
    for module in hf.modules():
        wide = type(module) is nn.Linear and min(module.in_features, module.out_features) >= NARROW
        if wide and id(module.weight) not in embeddings:
            module.__class__ = PackedLinear
    return True


def packed_bytes(module: nn.Module) -> int:
    """What the copies of a module's weights take in a step, those of its parts included."""
    return sum(BYTES * part.weight.numel() for part in module.modules() if isinstance(part, PackedLinear))


@cache
def onednn_packs_bf16() -> bool:
    """Whether this torch has oneDNN's packed products, and this processor computes in bf16."""
    if not torch.backends.mkldnn.is_available():
        return False
    onednn = torch.ops.mkldnn
    wanted = ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")
    return all(hasattr(onednn, name) for name in wanted) and bool(onednn._is_mkldnn_bf16_supported())
