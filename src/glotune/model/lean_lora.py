"""PEFT's low-rank layers with fewer passes over the activations: the same sums, no detour through fp32.

PEFT casts the input to the adapter's fp32, back to bf16 for its product, then scales and adds in passes of their
own. Here the input is used as it comes and the second product adds itself to the frozen one's output.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn


class LeanLinear(Linear):
    """A LoRA linear map with one active adapter: y = W x + b + scaling * B A dropout(x)."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[..., in] -> [..., out]; PEFT's own way wherever it does something else than the above."""
        if self.disable_adapters or self.merged or args or kwargs:
            return super().forward(x, *args, **kwargs)
        (name,) = self.active_adapters
        result = self.base_layer(x)
        low = self.lora_A[name](self.lora_dropout[name](x)).flatten(0, -2)
        up = self.lora_B[name].weight.t() * self.scaling[name]
        return torch.addmm(result.flatten(0, -2), low, up).view(result.shape)


def use_lean_lora(hf: nn.Module) -> None:
    """Turns PEFT's plain LoRA layers into lean ones; DoRA and other variants, and biased adapters, stay as they are."""
    module: Any
    for module in hf.modules():
        if type(module) is Linear and len(module.active_adapters) == 1:
            name = module.active_adapters[0]
            if name in module.lora_A and name not in module.lora_variant and module.lora_B[name].bias is None:
                module.__class__ = LeanLinear
