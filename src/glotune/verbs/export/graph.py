"""A classifier as an ONNX graph: batch and length free, padding masked, every product named after its module.

Torch's own exporter traces the plain padded model. Attention is the eager one: written out as products and a softmax,
equal to the model's own under a mask, and without the guards against empty rows that torch's fused one brings along.
"""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from glotune.engine.onnx import GRAPH, INPUTS, OUTPUT
from glotune.errors import MissingExtra, RunError
from glotune.model.packed.padding import takes_types

LARGEST_FILE = 2**31 - 2**20
"""Bytes of a graph in one file: protobuf ends at 2 GiB. Weights of a larger one lie in a file beside it."""
SCOPES = "pkg.torch.onnx.name_scopes"
SMALLEST_WEIGHT = 1024
"""Numbers of a weight that is worth a conversion; smaller ones (biases, norms) stay as they are."""


def require_onnx() -> Any:
    """The package ``onnx``, once all that an export needs is known to be there.

    Raises:
        MissingExtra: something is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise MissingExtra(package, "onnx", "Exporting to ONNX")
    import onnx

    return onnx


class _Logits(nn.Module):
    """The model with its inputs by position and its logits alone."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *values: Tensor) -> Tensor:
        logits: Tensor = self.model(**dict(zip(self.names, values, strict=True))).logits
        return logits


def traced(hf: Any) -> Any:
    """The graph of a sequence classification model (``onnx.ModelProto``), in fp32.

    It takes int64 [B, L], ``input_ids``, ``attention_mask`` and, where the family has them, ``token_type_ids``; it
    gives ``logits`` [B, C].

    Raises:
        MissingExtra: see `require_onnx`.
        RunError: torch can't trace this family.
    """
    require_onnx()
    names = [name for name in INPUTS if name != "token_type_ids" or takes_types(hf)]
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        hf.set_attn_implementation("eager")
        with silenced(), torch.no_grad():
            program = torch.onnx.export(
                _Logits(hf.eval(), names),
                tuple(torch.ones(2, 7, dtype=torch.long) for _ in names),  # sizes of 0 or 1 would become constants
                dynamo=True,
                input_names=names,
                output_names=[OUTPUT],
                dynamic_shapes={"values": tuple(free for _ in names)},
                verbose=False,
            )
    except Exception as error:  # each stage of torch's exporter has classes of its own
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"torch can't trace {type(hf).__name__} as an ONNX graph ({reason}). Export it with --to safetensors"
        ) from error
    assert program is not None
    model = program.model_proto
    _name_products(model)
    for node in model.graph.node:
        del node.metadata_props[:]  # where in which file of this machine each operation was written
    return model


def with_half_weights(model: Any) -> None:
    """Holds large weights in 16 bits, in place; they are cast when the graph is opened, and products stay in fp32.

    So the file is half as large, and as fast as before on a processor without fp16 products.
    """
    onnx = require_onnx()
    casts = []
    for weight in large_weights(model):
        values = onnx.numpy_helper.to_array(weight)
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16"))
        casts.append(onnx.helper.make_node("Cast", [weight.name], [name], f"{name}_cast", to=onnx.TensorProto.FLOAT))
    _put_first(model, casts)


def with_embeddings_in_8_bits(model: Any, name: str) -> None:
    """Holds an embedding matrix in 8 bits with a scale for each row, in place: looked up first, then multiplied.

    Args:
        name: of the ``Gather`` node that looks up in it.
    """
    onnx = require_onnx()
    place, node = next((at, each) for at, each in enumerate(model.graph.node) if each.name == name)
    weight = next(each for each in model.graph.initializer if each.name == node.input[0])
    values_VH = onnx.numpy_helper.to_array(weight)
    scale_V1 = np.maximum(np.abs(values_VH).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / 127
    rounded_VH = np.round(values_VH / scale_V1).astype(np.int8)
    table, scales, ids, out = f"{weight.name}_int8", f"{weight.name}_scale", node.input[1], node.output[0]
    weight.CopyFrom(onnx.numpy_helper.from_array(rounded_VH, table))
    model.graph.initializer.append(onnx.numpy_helper.from_array(scale_V1.astype(np.float32), scales))
    make = onnx.helper.make_node
    steps = [
        make("Gather", [table, ids], [f"{out}_int8"], name),
        make("Cast", [f"{out}_int8"], [f"{out}_whole"], f"{name}.cast", to=onnx.TensorProto.FLOAT),
        make("Gather", [scales, ids], [f"{out}_scale"], f"{name}.scales"),
        make("Mul", [f"{out}_whole", f"{out}_scale"], [out], f"{name}.scaled"),
    ]
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:place], *steps, *nodes[place + 1 :]])


def large_weights(model: Any) -> list[Any]:
    """The fp32 initializers that are worth a conversion."""
    onnx = require_onnx()
    return [
        each
        for each in model.graph.initializer
        if each.data_type == onnx.TensorProto.FLOAT and int(np.prod(each.dims)) >= SMALLEST_WEIGHT
    ]


def save_graph(model: Any, folder: Path) -> None:
    """Writes ``model.onnx``, with a file of weights beside it where one file can't hold them."""
    onnx = require_onnx()
    large = model.ByteSize() > LARGEST_FILE
    onnx.save_model(
        model,
        str(folder / GRAPH),
        save_as_external_data=large,
        all_tensors_to_one_file=True,
        location=f"{GRAPH}.data",
        size_threshold=SMALLEST_WEIGHT,
    )


def _put_first(model: Any, nodes: list[Any]) -> None:
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


def _name_products(model: Any) -> None:
    """Names products and look-ups after the module that they belong to, as far as it has one of each."""
    taken = {node.name for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type not in ("MatMul", "Gemm", "Gather"):
            continue
        stated = {each.key: each.value for each in node.metadata_props}.get(SCOPES)
        scopes = ast.literal_eval(stated) if stated else []
        name = scopes[-2].removeprefix("model.") if len(scopes) > 1 else ""
        if name and name not in taken:
            taken.add(name)
            node.name = name


@contextmanager
def silenced() -> Iterator[None]:
    """Without what exporter and quantiser say of their own deprecations and of operators that are not installed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
