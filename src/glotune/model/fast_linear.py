"""Linear maps in fp32 by oneDNN where torch would take MKL and MKL is slow: on x86 processors that are not Intel's.

MKL keeps its widest instructions for Intel's own processors. Measured on two cores of an AMD EPYC with AVX-512, fp32,
[2048, 768] x [768, 3072]: MKL 193 GFLOP/s, oneDNN 435. The sums are the same up to their order.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn


class FastLinear(nn.Linear):
    """``nn.Linear`` for prediction: oneDNN's product where no gradient is wanted, torch's own otherwise."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out]"""
        wanted = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or input.dtype != torch.float32
        if wanted or input.device.type != "cpu":
            return super().forward(input)
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")


def use_fast_linear(hf: nn.Module) -> bool:
    """Puts `FastLinear` in the place of every plain ``nn.Linear``, where it is faster.

    Returns:
        False where MKL or another library is the better one, or oneDNN is not there: nothing changes.
    """
    if not onednn_is_faster():
        return False
    for module in hf.modules():
        if type(module) is nn.Linear:
            module.__class__ = FastLinear
    return True


@cache
def onednn_is_faster() -> bool:
    """Whether torch has both libraries, and runs on an x86 processor of another maker than Intel."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.exists() else set()
    return bool(flags & {"AuthenticAMD", "HygonGenuine"}) and "avx2" in flags
