"""Dropout whose mask costs a CPU a sixth of torch's: 16 random bits per element instead of one drawn float."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

_LEVELS = 1 << 16
_INTEGERS = {2: np.int16, 4: np.int32, 8: np.int64}
"""Of as many bytes as a float."""


def dropout(values: Tensor, rate: float) -> Tensor:
    """Zeroes each element with probability `rate` and scales the others so that the mean stays (Srivastava 2014).

    On a CPU the probability is rounded to 1/65536, and the scale is that of the rounded probability. Randomness
    comes from torch's generator: the same seed, the same mask. On other devices this is torch's own dropout.
    """
    if rate == 0.0:
        return values
    if values.device.type != "cpu" or not 0 < _kept(rate) < _LEVELS:
        return functional.dropout(values, rate)
    return values * scaled_mask(values.shape, rate, values.dtype)


def scaled_mask(shape: torch.Size, rate: float, dtype: torch.dtype) -> Tensor:
    """What dropout multiplies values on a CPU by: 0, or the scale of those that are kept.

    Args:
        rate: of what is zeroed, above 0 and, rounded to 1/65536, below 1.
        dtype: a floating one.
    """
    kept, count = _kept(rate), shape.numel()
    seed = int(torch.randint(2**63 - 1, (1,), dtype=torch.int64))
    words = np.random.SFC64(seed).random_raw((count + 3) // 4)
    is_kept = words.view(np.int16)[:count] < kept - _LEVELS // 2
    # Truth times the scale's bits is one pass over integers; by way of floats it is three, each slower than drawing.
    integer = _INTEGERS[dtype.itemsize]
    scale = torch.full((1,), _LEVELS / kept, dtype=dtype).view(torch.uint8).numpy().view(integer)
    bits = np.multiply(is_kept.view(np.uint8), scale, dtype=integer)
    return torch.from_numpy(bits).view(dtype).view(shape)


def _kept(rate: float) -> int:
    """Of `_LEVELS`."""
    return round((1.0 - rate) * _LEVELS)


class Dropout(nn.Dropout):
    """``nn.Dropout`` by way of `dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape; acts in training mode only."""
        return dropout(input, self.p) if self.training else input


def use_fast_dropout(hf: nn.Module) -> None:
    """Puts `Dropout` in the place of every ``nn.Dropout`` of the model."""
    for module in list(hf.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))
