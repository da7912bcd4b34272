"""An exported classifier through ONNX Runtime on a CPU: micro-batches by length, under a token budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glotune.data.batches import cut, pooled
from glotune.data.tokenization import TokenStore
from glotune.errors import MissingExtra, UserError

GRAPH = "model.onnx"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "logits"


@dataclass
class OnnxModel:
    """A graph with the inputs and the output of Hugging Face's exports: see `INPUTS` and `OUTPUT`."""

    path: Path
    threads: int
    token_budget: int
    """Most tokens in one micro-batch, padding included."""
    pad_token_id: int
    precision: str = "fp32"
    one_length: bool = False
    """Padding beside a text changes the answer to it: only texts of one length run together."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        self._session = _open(self.path, self.threads)
        self._inputs = [each.name for each in self._session.get_inputs()]
        outputs = [each.name for each in self._session.get_outputs()]
        if not set(self._inputs) <= set(INPUTS) or OUTPUT not in outputs:
            raise UserError(
                f"{self.path} takes {', '.join(self._inputs)} and gives {', '.join(outputs)}",
                expected=f"some of {', '.join(INPUTS)} in, {OUTPUT} out, as glotune export writes it",
            )

    @cached_property
    def parameters(self) -> int:
        """Numbers of the graph that come from training; scales and zero points of a quantised one are among them."""
        try:
            import onnx
        except ImportError as error:
            raise MissingExtra("onnx", "onnx", "Counting an exported model's parameters") from error
        graph = onnx.load(str(self.path), load_external_data=False).graph
        return sum(int(np.prod(each.dims)) for each in graph.initializer if each.data_type != onnx.TensorProto.INT64)

    def logits(self, store: TokenStore) -> NDArray[np.float64]:
        """See `glotune.engine.predict.Answering.logits`."""
        sequences = store.by_sequence()
        parts = [(rows, self._run(sequences, rows)) for rows in self._pieces(sequences)]
        logits_SC = np.empty((len(sequences), parts[0][1].shape[1]))
        for rows, found in parts:
            logits_SC[rows] = found
        if store.windows is None:
            return logits_SC
        places = torch.from_numpy(store.windows.places(np.arange(len(store))))
        return np.asarray(pooled(torch.from_numpy(logits_SC), places, store.windows.pool), np.float64)

    def _pieces(self, store: TokenStore) -> Iterator[NDArray[np.int64]]:
        every = np.arange(len(store))
        groups = [every]
        if self.one_length:
            groups = [every[store.lengths == length] for length in np.unique(store.lengths)]
        for group in groups:
            yield from (rows for rows, _ in cut(group, store.lengths, self.token_budget))

    def _run(self, store: TokenStore, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        lengths_B = store.lengths[rows]
        is_text_BL = np.arange(lengths_B.max()) < lengths_B[:, None]
        values: dict[str, Any] = {
            "input_ids": _laid_out(store.tokens, store, rows, is_text_BL, self.pad_token_id),
            "attention_mask": is_text_BL.astype(np.int64),
        }
        if store.token_types is None:
            values["token_type_ids"] = np.zeros_like(values["input_ids"])
        else:
            values["token_type_ids"] = _laid_out(store.token_types, store, rows, is_text_BL, 0)
        found: NDArray[np.float32] = self._session.run([OUTPUT], {name: values[name] for name in self._inputs})[0]
        return found


def _laid_out(
    values: NDArray[Any], store: TokenStore, rows: NDArray[np.int64], is_text_BL: NDArray[np.bool_], fill: int
) -> NDArray[np.int64]:
    """[B, L] the rows' parts of `values`, each in a row of its own."""
    grid = np.full(is_text_BL.shape, fill, np.int64)
    grid[is_text_BL] = np.concatenate([values[store.offsets[row] : store.offsets[row + 1]] for row in rows])
    return grid


def _open(path: Path, threads: int) -> Any:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingExtra("onnxruntime", "onnx", "Predicting with an ONNX export") from error
    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; what the optimiser did is nobody's business
    options.enable_cpu_mem_arena = False  # it keeps the memory of the largest batch for good
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes, which have no common base that it names
        raise UserError(
            f"{path} can't be opened ({' '.join(str(error).split())[:200]})",
            expected="a graph that ONNX Runtime opens, with its .data file beside it",
        ) from error
