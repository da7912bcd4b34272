"""Keep the first layers: lower layers carry the cross-lingual transfer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from glotune.errors import UserError
from glotune.model.families import Anatomy, groups_of
from glotune.model.surgery.counting import Counts
from glotune.run.records import Change
from glotune.words import millions


def truncate(hf: nn.Module, layers: int | None) -> Change | None:
    """Drops every layer above the first `layers`, in the model and in its configuration.

    Returns:
        The change, or None where all layers are kept.

    Raises:
        UserError: the encoder has fewer layers, can't share its weights among so few, or is none that can be cut.
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
    _cut_modules(anatomy, layers)
    _cut_lists(anatomy.config, depth, layers)
    _check_rebuilt(anatomy)
    after = Counts.of(hf)
    saved = millions(before.parameters - after.parameters)
    return before.change(
        "truncate", f"first {layers} of {depth} layers kept: {saved} parameters fewer", hf, layers=layers, depth=depth
    )


def _cut_modules(anatomy: Anatomy, layers: int) -> None:
    if len(anatomy.family.stacks) > 1:
        raise UserError(
            f"the layers of {anatomy.family.name} lie in {len(anatomy.family.stacks)} lists"
            f" ({', '.join(anatomy.family.stacks)}), which are not cut",
            where="model.layers",
            expected="null for all layers",
        )
    (stack,) = anatomy.family.stacks
    kept = len(set(anatomy.layer_paths[:layers]))
    if getattr(anatomy.config, "num_hidden_groups", None) is not None:
        _cut_groups(anatomy, layers, kept)
    parent, _, name = stack.rpartition(".")
    setattr(anatomy.core.get_submodule(parent), name, anatomy.core.get_submodule(stack)[:kept])
    anatomy.config.num_hidden_layers = layers


def _cut_groups(anatomy: Anatomy, layers: int, kept: int) -> None:
    """Cuts ALBERT's groups of layers that share their weights; each layer must stay in its group."""
    depth, groups = len(anatomy.layers), anatomy.config.num_hidden_groups
    whole = groups_of(depth, groups)
    if groups_of(layers, kept) != whole[:layers]:
        fit = [str(count) for count in range(1, depth) if groups_of(count, whole[count - 1] + 1) == whole[:count]]
        raise UserError(
            f"{layers} layers asked of an encoder whose {depth} layers share {groups} sets of weights",
            where="model.layers",
            expected=f"one of {', '.join(fit)}, or null for all",
        )
    anatomy.config.num_hidden_groups = kept


def _cut_lists(config: Any, depth: int, layers: int) -> None:
    """Cuts what the configuration says layer by layer: ``layer_types``, Longformer's ``attention_window`` and so on."""
    for key, value in config.to_dict().items():
        speaks_of_layers = "layer" in key or key == "attention_window"
        if speaks_of_layers and isinstance(value, list | tuple) and len(value) == depth:
            setattr(config, key, value[:layers])


def _check_rebuilt(anatomy: Anatomy) -> None:
    """Builds the model from the cut configuration, without memory for weights, and compares names and shapes.

    It takes some tenths of a second and says before training what could not be opened after it.
    """
    core = anatomy.core
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            rebuilt = type(core)(type(core.config).from_dict(core.config.to_dict()))
        differing = sorted(_shapes(core) ^ _shapes(rebuilt))
        problem = f"{differing[0][0]} does not fit" if differing else None
    except (ValueError, TypeError, RuntimeError, LookupError, AttributeError) as error:
        problem = " ".join(str(error).split())[:200]
    if problem is not None:
        raise UserError(
            f"{anatomy.family.name} can't be opened with {anatomy.config.num_hidden_layers} layers ({problem})",
            where="model.layers",
            expected="null for all layers",
        )


def _shapes(model: nn.Module) -> set[tuple[str, tuple[int, ...]]]:
    return {(name, tuple(value.shape)) for name, value in model.state_dict().items()}
