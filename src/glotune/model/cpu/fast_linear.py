"""Linear maps in fp32 by oneDNN where torch would take MKL and MKL is slow: on AVX-512 processors that are not Intel's.

MKL keeps its widest instructions for Intel's own processors. Measured on two cores of an AMD EPYC with AVX-512, fp32,
[2048, 768] x [768, 3072]: MKL 193 GFLOP/s, oneDNN 435. The sums are the same up to their order. On an EPYC whose widest
instructions are AVX2 both reach 150 GFLOP/s, and for a single short text MKL takes a quarter less: torch's own stay.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu


class FastLinear(nn.Linear):
    """``nn.Linear`` for prediction: oneDNN's product where no gradient is wanted, torch's own otherwise."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out]"""
        return self.product(input, "none") if goes_by_onednn(input) else super().forward(input)

    def product(self, input: Tensor, activation: str) -> Tensor:
        """oneDNN's product; ``gelu`` is the exact one, by the error function."""
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, activation, [], "none")


class FastLinearGelu(FastLinear):
    """A linear map followed by GELU, which oneDNN applies while the product is still in the cache."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out], activated"""
        return self.product(input, "gelu") if goes_by_onednn(input) else gelu(super().forward(input))


def goes_by_onednn(values: Tensor) -> bool:
    """Whether a product of these values is one of prediction in fp32 on a CPU."""
    if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False
    return values.device.type == "cpu" and values.dtype == torch.float32


def use_fast_linear(hf: nn.Module) -> bool:
    """Puts `FastLinear` in the place of every plain ``nn.Linear``, where it is faster.

    A feed-forward's first map takes its GELU along, where its own module does nothing else.

    Returns:
        False where MKL or another library is the better one, or oneDNN is not there: nothing changes.
    """
    if not onednn_is_faster():
        return False
    for module in list(hf.modules()):
        dense, activation = getattr(module, "dense", None), getattr(module, "intermediate_act_fn", None)
        if type(dense) is nn.Linear and is_exact_gelu(activation):
            dense.__class__ = FastLinearGelu
            module.intermediate_act_fn = nn.Identity()
        elif type(module) is nn.Linear:
            module.__class__ = FastLinear
    return True


def is_exact_gelu(activation: object) -> bool:
    """transformers' GELU by the error function, as XLM-R and BERT have it."""
    return type(activation).__name__ == "GELUActivation" and getattr(activation, "act", None) is gelu


@cache
def onednn_is_faster() -> bool:
    """Whether torch has both libraries, and runs on an AVX-512 processor of another maker than Intel."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    info = Path("/proc/cpuinfo")
    return info.exists() and mkl_is_slow(info.read_text(encoding="utf-8"))


def mkl_is_slow(cpuinfo: str) -> bool:
    """Whether MKL leaves the processor's widest instructions alone, by what Linux says of it."""
    words = set(cpuinfo.split())
    return bool(words & {"AuthenticAMD", "HygonGenuine"}) and "avx512f" in words
