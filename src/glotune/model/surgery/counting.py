"""Parameter counts before and after a step of surgery, so that what is reported is what happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from glotune.run.records import Change

Kind = Literal["truncate", "trim_vocabulary", "freeze", "lora", "pack", "pooled_last_layer", "pooling", "prefix_cache"]


@dataclass(frozen=True)
class Counts:
    """Parameters of a model; a tensor that is used twice counts once."""

    parameters: int
    trainable: int

    @classmethod
    def of(cls, model: nn.Module) -> Counts:
        values = list(model.parameters())
        return cls(sum(value.numel() for value in values), sum(v.numel() for v in values if v.requires_grad))

    def change(self, kind: Kind, description: str, model: nn.Module, **details: Any) -> Change:
        """The record of a step that began with these counts and has just ended."""
        after = Counts.of(model)
        return Change(
            kind=kind,
            description=description,
            parameters_before=self.parameters,
            parameters_after=after.parameters,
            trainable_before=self.trainable,
            trainable_after=after.trainable,
            details=details,
        )
