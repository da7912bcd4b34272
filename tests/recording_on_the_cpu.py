"""Stands in for CUDA graphs where there is no GPU: operations are written down once, and repeated on the same memory.

As with a graph, no line of Python runs in a replay: what the host knew while recording, it knows for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from accelerator_guard import WAITS
from glotune.engine.graphs import Work
from glotune.model.packed import walk


class Tape(TorchDispatchMode):
    """What was computed, on which memory."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.name.split("::")[-1] in WAITS:
            raise RuntimeError(f"{func} can't be recorded: the host would wait for it")
        result = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        is_view = bool(made) and not func._schema.is_mutable and made[0].untyped_storage()._cdata in given
        if not is_view:
            self._lines.append((func, args, kwargs, made))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        """Computes all of it again, where it lies."""
        with torch.autocast("cpu", enabled=False):
            for func, args, kwargs, made in self._lines:
                again = [leaf for leaf in tree_leaves(func(*args, **kwargs)) if isinstance(leaf, Tensor)]
                for place, found in zip(made, again, strict=True):
                    if place is not found:
                        place.detach().copy_(found)


def record(forward: Work, backward: Work) -> tuple[Work, Work]:
    """In place of `glotune.engine.graphs.recorded_by_cuda`."""
    tapes = Tape(), Tape()
    for tape, work in zip(tapes, (forward, backward), strict=True):
        with tape:
            work()
    return tapes[0].replay, tapes[1].replay


@contextmanager
def as_recorded_on_a_gpu() -> Iterator[None]:
    """Lets a CPU go the ways of a GPU that look at no length on the host, with dropout that draws where it computes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "is_plain", lambda part: False)
        patch.setattr("glotune.model.cpu.dropout.Dropout.forward", nn.Dropout.forward)
        patch.setattr("glotune.model.packed.attention.drop", nn.functional.dropout)
        yield
