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
MOST_CHANGED = 0.05
"""Share of the validation texts that may be answered otherwise. On a few hundred texts macro-F1 can rise by luck while
answers change by the dozen: it alone would let anything through."""

Ask = Callable[[Path], Said]
"""A folder with a graph -> what it says of the validation texts."""
Score = Callable[[Said], float]
"""The run's metric of what was said, times 100."""


@dataclass(frozen=True)
class Quantised:
    """What was measured on the way to a graph in 8 bits."""

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
    folder: Path,
    *,
    ask: Ask,
    score: Score,
    max_loss: float,
    log: Callable[[str], None],
) -> Quantised:
    """Writes the graph in 8 bits: all parts, less the worst one at a time while too much is lost.

    Too much is more than `max_loss`, or more answers changed than `MOST_CHANGED`.

    Args:
        model: the graph in fp32 (``onnx.ModelProto``).
        embeddings: path of the word embeddings.
        folder: takes the graph.
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
        whole, trial = Path(place) / "fp32", Path(place) / "trial"
        whole.mkdir()
        trial.mkdir()
        save_graph(model, whole)
        before = ask(whole)

        def measured(names: Sequence[str], at: Path) -> Said:
            in_8_bits(whole, {name: parts[name] for name in names}, at)
            return ask(at)

        alone = {}
        for name in parts:
            alone[name] = Cost.of(before, measured([name], trial))
            log(f"{name} alone in 8 bits: {alone[name]}")
        taken = sorted(parts, key=lambda name: alone[name].mean_change)
        while True:
            found = measured(taken, folder)
            loss = score(before) - score(found)
            cost = Cost.of(before, found)
            log(f"{len(taken)} of {len(parts)} parts in 8 bits: {cost}, {loss:+.2f} points lost")
            is_fine = loss <= max_loss and cost.changed <= MOST_CHANGED * len(found.answers_N)
            if is_fine or len(taken) == 1:
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
    return Quantised(records, loss)


@dataclass(frozen=True)
class Cost:
    """How far answers moved."""

    mean_change: float
    """Mean absolute change of a probability, or of a score."""
    changed: int
    """Texts that are answered otherwise."""

    @classmethod
    def of(cls, before: Said, after: Said) -> Cost:
        moved = float(np.abs(before.values_NC - after.values_NC).mean())
        return cls(moved, before.changed(after))

    def __str__(self) -> str:
        return f"numbers move by {self.mean_change:.4f} on average, {self.changed} answers change"


def in_8_bits(whole: Path, parts: dict[str, list[str]], folder: Path) -> None:
    """Writes the graph with these parts in 8 bits.

    Args:
        whole: holds the graph in fp32.
        parts: as of `parts_of`.
        folder: another one, which takes the graph in the place of one that it holds.
    """
    onnx = require_onnx()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    products = [node for name, nodes in parts.items() if name != EMBEDDINGS for node in nodes]
    source = whole / GRAPH
    _empty(folder)
    if products:
        with silenced():
            quantize_dynamic(
                str(source),
                str(folder / GRAPH),
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=products,
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                use_external_data_format=len(list(whole.iterdir())) > 1,  # so is the source
                extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
            )
        source = folder / GRAPH
    if EMBEDDINGS in parts:
        small = onnx.load(str(source))
        _empty(folder)
        for name in parts[EMBEDDINGS]:
            with_embeddings_in_8_bits(small, name)
        save_graph(small, folder)


def _empty(folder: Path) -> None:
    """Removes a graph: weights in a file beside one would be written after those that lie there."""
    for name in (GRAPH, f"{GRAPH}.data"):
        (folder / name).unlink(missing_ok=True)


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
