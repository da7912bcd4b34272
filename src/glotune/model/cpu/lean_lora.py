"""PEFT's low-rank layers with fewer passes over the activations: the same sums, no detour through fp32.

PEFT casts the input to the adapter's fp32, back to bf16 for its product, then scales and adds in passes of their
own. Here the input is used as it comes and the second product adds itself to the frozen one's output. Query, key and
value read the same input: it is cast and dropped out once, and their first products are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from torch.nn import functional

from glotune.model.half_weights import laid_together


class LeanLinear(Linear):
    """A LoRA linear map with one active adapter: y = W x + b + scaling * B A dropout(x)."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[..., in] -> [..., out]; PEFT's own way wherever it does something else than the above."""
        if self.disable_adapters or self.merged or args or kwargs:
            return super().forward(x, *args, **kwargs)
        (name,) = self.active_adapters
        return self.add_to(self.base_layer(x), self.lora_A[name](self.lora_dropout[name](x)))

    def add_to(self, result: Tensor, low: Tensor) -> Tensor:
        """result + scaling * B low: [..., out], [..., rank] -> [..., out], in one product."""
        (name,) = self.active_adapters
        up = self.lora_B[name].weight.t() * self.scaling[name]
        return torch.addmm(result.flatten(0, -2), low.flatten(0, -2), up).view(result.shape)


def project_together(parts: Sequence[nn.Module], values_TH: Tensor) -> list[Tensor]:
    """The outputs of linear maps that read the same input; one dropout mask serves all their adapters.

    Args:
        parts: plain and adapted linear maps; the adapted ones with one dropout rate, as `add_lora` makes them.
        values_TH: [T, H]
    """
    kind = values_TH.device.type
    if torch.is_autocast_enabled(kind):
        values_TH = values_TH.to(torch.get_autocast_dtype(kind))
    lean = [part for part in parts if isinstance(part, LeanLinear) and not part.disable_adapters and not part.merged]
    if len(lean) < 2:
        return [part(values_TH) for part in parts]
    names = [part.active_adapters[0] for part in lean]
    downs = [part.lora_A[name].weight for part, name in zip(lean, names, strict=True)]
    dropped = lean[0].lora_dropout[names[0]](values_TH)
    lows = functional.linear(dropped, laid_together(downs)).split([len(down) for down in downs], dim=-1)
    low_of = dict(zip(map(id, lean), lows, strict=True))
    return [
        part.add_to(part.base_layer(values_TH), low_of[id(part)]) if id(part) in low_of else part(values_TH)  # type: ignore[operator]
        for part in parts
    ]


def use_lean_lora(hf: nn.Module) -> None:
    """Turns PEFT's plain LoRA layers into lean ones; DoRA and other variants, and biased adapters, stay as they are."""
    module: Any
    for module in hf.modules():
        if type(module) is Linear and len(module.active_adapters) == 1:
            name = module.active_adapters[0]
            if name in module.lora_A and name not in module.lora_variant and module.lora_B[name].bias is None:
                module.__class__ = LeanLinear
