"""Freeze embeddings and lower layers, and find the part whose output depends on the text alone."""

from __future__ import annotations

from torch import nn

from glotune.errors import UserError
from glotune.model.families import Anatomy
from glotune.model.surgery.counting import Counts
from glotune.recipe import schema
from glotune.run.records import Change
from glotune.words import millions


def freeze(hf: nn.Module, spec: schema.Freeze) -> Change | None:
    """Freezes the embeddings and the first layers; with ``dropout: off`` their dropout is switched off as well.

    The head always trains.

    Returns:
        The change, or None where nothing is frozen.

    Raises:
        UserError: no layer would be left to train, or one that trains shares its weights with a frozen one.
    """
    if not spec.embeddings and spec.layers == 0:
        return None
    anatomy = Anatomy(hf)
    depth = len(anatomy.layers)
    if spec.layers >= depth:
        raise UserError(
            f"{spec.layers} layers frozen of an encoder that keeps {depth}: no layer is left to train",
            where="model.freeze.layers",
            expected=f"0 to {depth - 1}",
        )
    if anatomy.shares_weights(spec.layers):
        raise UserError(
            f"{anatomy.family.name} shares weights between its layers: the first {spec.layers} of {depth} can't be"
            " frozen while the others train",
            where="model.freeze.layers",
            expected="0; the embeddings alone can be frozen",
        )
    before = Counts.of(hf)
    frozen = [*anatomy.embeddings, *anatomy.layers[: spec.layers]]
    for module in frozen:
        module.requires_grad_(False)
        if spec.dropout == "off":
            silence_dropout(module)
    what = "embeddings" if spec.layers == 0 else f"embeddings and first {spec.layers} of {depth} layers"
    after = Counts.of(hf)
    return before.change(
        "freeze",
        f"{what} frozen, dropout there {spec.dropout}: {millions(after.trainable)} trainable parameters",
        hf,
        layers=spec.layers,
        dropout=spec.dropout,
    )


def silence_dropout(module: nn.Module) -> None:
    """Sets every dropout probability inside `module` to 0."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(getattr(part, "attention_dropout", None), float | int):
            # ModernBERT keeps the rate of its attention product as a plain number.
            vars(part)["attention_dropout"] = 0.0


def is_fixed(module: nn.Module) -> bool:
    """Whether the output is a function of the input alone: nothing trains and no dropout acts inside."""
    if any(value.requires_grad for value in module.parameters()):
        return False
    return not any(_drops(part) for part in module.modules())


def _drops(part: nn.Module) -> bool:
    if isinstance(part, nn.Dropout):
        return part.p > 0.0
    rate = getattr(part, "attention_dropout", 0.0)
    return isinstance(rate, float | int) and rate > 0.0


def prefix_depth(anatomy: Anatomy) -> int | None:
    """How many leading layers are fixed: 0 for the embeddings alone, None where not even they are.

    The last layer never counts: its pooled token is all that is used of it.
    """
    if not all(map(is_fixed, anatomy.embeddings)):
        return None
    depth = 0
    while depth < len(anatomy.layers) - 1 and is_fixed(anatomy.layers[depth]):
        depth += 1
    return depth
