"""Low-rank adapters through PEFT, with targets named per family and the head trained in full."""

from __future__ import annotations

import warnings
from typing import Any

from glotune.errors import UserError, did_you_mean
from glotune.model.families import Anatomy
from glotune.model.surgery.counting import Counts
from glotune.model.surgery.freezing import silence_dropout
from glotune.recipe import schema
from glotune.run.records import Change


def add_lora(hf: Any, spec: schema.Lora, frozen: schema.Freeze | None = None) -> tuple[Any, Change]:
    """Wraps the encoder with adapters; base weights freeze, adapters and head train.

    Args:
        frozen: its layers get no adapters. With ``dropout: off`` and `spec.layers` set, dropout below the lowest
            adapter is switched off: that part's output then depends on the text alone. None: nothing is frozen.

    Returns:
        The ``PeftModel`` and the change.

    Raises:
        UserError: an unknown target, adapters asked in more layers than there are, in frozen ones, or in some of
            layers that share their weights.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    frozen = frozen or schema.Freeze()
    anatomy = Anatomy(hf)
    depth = len(anatomy.layers)
    lowest = _lowest_layer(spec, depth, frozen.layers)
    targets = target_modules(anatomy, spec.target_modules, lowest)
    if anatomy.shares_weights(lowest):
        raise UserError(
            f"{anatomy.family.name} shares weights between its layers: an adapter in the upper {spec.layers} of {depth}"
            " is one in the layers below",
            where="model.lora.layers",
            expected="null for all",
        )
    before = Counts.of(hf)
    if spec.layers is not None and frozen.dropout == "off":
        for module in (*anatomy.embeddings, *anatomy.layers[:lowest]):
            silence_dropout(module)
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=targets,
        modules_to_save=list(anatomy.family.head),
        use_rslora=spec.rslora,
        use_dora=spec.dora,
    )
    with warnings.catch_warnings():
        # PEFT asks transformers by a name that transformers is about to drop.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        wrapped = get_peft_model(hf, config)
    change = before.change("lora", _describe(spec, anatomy, targets, lowest), wrapped, targets=targets)
    return wrapped, change


def target_modules(anatomy: Anatomy, names: list[str], lowest: int = 0) -> list[str]:
    """Full paths of the linear maps that get adapters, in the model's order.

    Args:
        names: of query, key, value, dense; or a path inside a layer, e.g. ``mlp.Wi``.
        lowest: the first layer with adapters, counted from 0.

    Raises:
        UserError: a name that the family does not have.
    """
    known = anatomy.family.lora_targets
    inside = dict(anatomy.linears(lowest))
    wanted: set[str] = set()
    for position, name in enumerate(names):
        if known.get(name):
            wanted.update(known[name])
        elif name in inside:
            wanted.add(name)
        else:
            raise _unknown(name, position, anatomy, [role for role, paths in known.items() if paths], list(inside))
    found = [
        f"{anatomy.layer_paths[layer]}.{path}"
        for layer in range(lowest, len(anatomy.layers))
        for path, _ in anatomy.linears(layer)
        if path in wanted
    ]
    return list(dict.fromkeys(found))  # a shared layer is adapted once


def _lowest_layer(spec: schema.Lora, depth: int, frozen: int) -> int:
    """The first layer with adapters: above the first `frozen` ones, which are not trained by adapters either."""
    if spec.layers is None:
        return frozen
    if spec.layers > depth:
        raise UserError(
            f"adapters in the upper {spec.layers} layers of an encoder that keeps {depth}",
            where="model.lora.layers",
            expected=f"1 to {depth}, or null for all",
        )
    if depth - spec.layers < frozen:
        raise UserError(
            f"adapters in the upper {spec.layers} of {depth} layers, of which the first {frozen} are frozen",
            where="model.lora.layers",
            expected=f"1 to {depth - frozen}, or null for all layers that are not frozen",
            remedy="An adapter trains its layer: lower model.freeze.layers, or model.lora.layers",
        )
    return depth - spec.layers


def _unknown(name: str, position: int, anatomy: Anatomy, roles: list[str], paths: list[str]) -> UserError:
    return UserError(
        f"{anatomy.family.name} has no target module '{name}'",
        where=f"model.lora.target_modules[{position}]",
        expected=f"any of {', '.join(roles)} (or a path inside a layer: {', '.join(paths)})",
        remedy=did_you_mean(name, [*roles, *paths]),
    )


def _describe(spec: schema.Lora, anatomy: Anatomy, targets: list[str], lowest: int) -> str:
    depth = len(anatomy.layers)
    kind = "DoRA" if spec.dora else "rsLoRA" if spec.rslora else "LoRA"
    upper = depth - lowest
    where = f"all {depth} layers" if lowest == 0 and spec.layers is None else f"the upper {upper} of {depth} layers"
    text = f"{kind} rank {spec.rank}, alpha {spec.alpha:g} on {', '.join(spec.target_modules)} in {where}"
    if any(target.endswith("Wqkv") for target in targets):
        text += " (query, key and value are one fused matrix here: one adapter for all three)"
    elif (
        spec.dropout > 0 and len({"query", "key", "value"} & set(spec.target_modules)) > 1 and anatomy.family.is_packed
    ):
        text += "; query, key and value share a dropout mask, being adapted on the same input"
    if lowest > 0:
        text += f"; the {lowest} layers below are frozen"
    return text
