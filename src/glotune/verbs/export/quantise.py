"""A graph in 8 bits, without the parts that lose most by it: what each part costs is measured on validation texts.

Products take ONNX Runtime's dynamic quantisation: weights in 8 bits with a scale for each output, activations scaled as
they come. Seven of the eight bits are used: on x86 without VNNI the product adds pairs of them in 16 bits, and eight
would overflow (ONNX Runtime, "Quantize ONNX models", on ``reduce_range``). Word embeddings have a scale for each row.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glotune.engine.onnx import GRAPH
from glotune.errors import UserError
from glotune.verbs.export.graph import require_onnx, save_graph, silenced, with_embeddings_in_8_bits
from glotune.verbs.export.parity import Said
from glotune.verbs.export.record import Part

EMBEDDINGS = "word embeddings"

Ask = Callable[[Path], Said]
"""A folder with a graph -> what it says of the validation texts."""
Score = Callable[[Said], float]
"""Macro-F1 of what was said, in points."""


@dataclass(frozen=True)
class Quantised:
    """A graph in 8 bits."""

    model: Any
    parts: list[Part]
    loss: float
    """Points of macro-F1 that it loses on the validation texts."""


def parts_of(model: Any, embeddings: str) -> dict[str, list[str]]:
    """Part -> names of its nodes: the products of one place in all layers together, and the look-up of words.

    Args:
        embeddings: path of the word embeddings in the model.
    """
    weights = {each.name for each in model.graph.initializer if len(each.dims) == 2}
    parts: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights:
            parts.setdefault(_place(node.name), []).append(node.name)
        elif node.op_type == "Gather" and node.name == embeddings:
            parts[EMBEDDINGS] = [node.name]
    return parts


def quantise(
    model: Any,
    embeddings: str,
    *,
    ask: Ask,
    score: Score,
    max_loss: float,
    log: Callable[[str], None],
) -> Quantised:
    """Finds the parts to hold in 8 bits: all, less the worst one at a time until no more than `max_loss` is lost.

    Args:
        model: the graph in fp32 (``onnx.ModelProto``); it is left as it is.
        embeddings: path of the word embeddings.
        ask, score: how a graph does on the validation texts.
        max_loss: points of macro-F1.
        log: takes a line for each measurement.

    Raises:
        UserError: there is nothing to quantise.
    """
    parts = parts_of(model, embeddings)
    if not parts:
        raise UserError("this graph has no products with weights", remedy="Export it with --precision fp32 or fp16")
    with tempfile.TemporaryDirectory(prefix="glotune-export-") as place:
        folder = Path(place)
        save_graph(model, folder)
        before = ask(folder)

        def measured(names: Sequence[str]) -> tuple[Any, Said]:
            small = in_8_bits(folder, model, {name: parts[name] for name in names})
            with tempfile.TemporaryDirectory(prefix="glotune-export-") as at:
                save_graph(small, Path(at))
                return small, ask(Path(at))

        alone = {}
        for name in parts:
            _, found = measured([name])
            alone[name] = Cost.of(before, found)
            log(f"{name} alone in 8 bits: {alone[name]}")
        taken = sorted(parts, key=lambda name: alone[name].mean_change)
        while True:
            small, found = measured(taken)
            loss = score(before) - score(found)
            log(f"{len(taken)} of {len(parts)} parts in 8 bits: {Cost.of(before, found)}, {loss:+.2f} points lost")
            if loss <= max_loss or len(taken) == 1:
                break
            taken = taken[:-1]
    sizes = _sizes(model)
    records = [
        Part(
            name=name,
            parameters=sum(sizes[node] for node in parts[name]),
            mean_change=alone[name].mean_change,
            changed=alone[name].changed,
            quantised=name in taken,
        )
        for name in parts
    ]
    return Quantised(small, records, loss)


@dataclass(frozen=True)
class Cost:
    """How far answers moved."""

    mean_change: float
    """Mean absolute change of a probability."""
    changed: int
    """Texts that are answered otherwise."""

    @classmethod
    def of(cls, before: Said, after: Said) -> Cost:
        moved = float(np.abs(before.probabilities_NC - after.probabilities_NC).mean())
        return cls(moved, before.changed(after))

    def __str__(self) -> str:
        return f"probabilities move by {self.mean_change:.4f} on average, {self.changed} answers change"


def in_8_bits(folder: Path, model: Any, parts: dict[str, list[str]]) -> Any:
    """The graph with these parts in 8 bits (``onnx.ModelProto``).

    Args:
        folder: holds the graph in fp32.
        model: the same graph, read.
        parts: as of `parts_of`.
    """
    onnx = require_onnx()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    products = [node for name, nodes in parts.items() if name != EMBEDDINGS for node in nodes]
    small = onnx.ModelProto()
    if products:
        with tempfile.TemporaryDirectory(prefix="glotune-export-") as place, silenced():
            path = Path(place) / GRAPH
            quantize_dynamic(
                str(folder / GRAPH),
                str(path),
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=products,
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
            )
            small = onnx.load(str(path))
    else:
        small.CopyFrom(model)
    for name in parts.get(EMBEDDINGS, []):
        with_embeddings_in_8_bits(small, name)
    return small


def _place(name: str) -> str:
    """``encoder.layer.3.attention.self.query`` -> ``attention.self.query``."""
    return re.split(r"\.\d+\.", name)[-1]


def _sizes(model: Any) -> dict[str, int]:
    """Node -> numbers of its weight."""
    weights = {each.name: int(np.prod(each.dims)) for each in model.graph.initializer}
    return {
        node.name: sum(weights[name] for name in node.input if name in weights)
        for node in model.graph.node
        if node.op_type in ("MatMul", "Gather")
    }
