"""Keep the first layers: lower layers carry the cross-lingual transfer."""

from __future__ import annotations

from torch import nn

from glotune.errors import UserError
from glotune.model.families import Anatomy
from glotune.model.surgery.counting import Counts, millions
from glotune.run.records import Change


def truncate(hf: nn.Module, layers: int | None) -> Change | None:
    """Drops every layer above the first `layers`, in the model and in its configuration.

    Returns:
        The change, or None where all layers are kept.

    Raises:
        UserError: the encoder has fewer layers.
    """
    anatomy = Anatomy(hf)
    depth = len(anatomy.layers)
    if layers is None or layers == depth:
        return None
    if layers > depth:
        raise UserError(
            f"{layers} layers asked of an encoder that has {depth}",
            where="model.layers",
            expected=f"1 to {depth}, or null for all",
        )
    before = Counts.of(hf)
    parent, _, name = anatomy.family.layers.rpartition(".")
    setattr(anatomy.core.get_submodule(parent), name, anatomy.layers[:layers])
    anatomy.config.num_hidden_layers = layers
    if getattr(anatomy.config, "layer_types", None) is not None:
        anatomy.config.layer_types = anatomy.config.layer_types[:layers]
    after = Counts.of(hf)
    saved = millions(before.parameters - after.parameters)
    return before.change(
        "truncate", f"first {layers} of {depth} layers kept: {saved} parameters fewer", hf, layers=layers, depth=depth
    )
