"""Watches what is done on an accelerator, on ``torch.device("meta")``: shapes alone, so that any machine can."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import clip_grad
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
WAITS = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "bincount",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "equal",
    "is_nonzero",
}
"""Operations after which the host knows a value, or a size that follows from values: on a GPU it waits for them."""
FREE = {"view", "_unsafe_view", "t", "transpose", "unsqueeze", "squeeze", "expand", "slice", "select", "detach",
        "alias", "split", "split_with_sizes", "permute", "unbind", "as_strided", "reshape", "empty", "empty_like",
        "new_empty", "empty_strided"}  # fmt: skip
"""Operations that launch no kernel."""


class HostWaits(AssertionError):
    """The host would wait for the device."""


class Guard(TorchDispatchMode):
    """Fails where the host would wait for the device, or where float64 is made there; counts what launches a kernel."""

    def __init__(self, *, refuses: bool = True) -> None:
        super().__init__()
        self.refuses = refuses
        """False: only counts."""
        self.kernels: Counter[str] = Counter()

    @property
    def launched(self) -> int:
        return self.kernels.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[-1]
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if self.refuses and any(tensor.device == META for tensor in given):
            self._refuse_waits(name, func, args, kwargs, given)
        result = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.device == META]
        if self.refuses and made:
            self._refuse_copies(name, kwargs, given)
        if self.refuses and any(tensor.dtype == torch.float64 for tensor in made):
            raise AssertionError(f"{func} makes float64 on the device")
        if name not in FREE and (made or any(tensor.device == META for tensor in given)):
            self.kernels[name] += 1
        return result

    @staticmethod
    def _refuse_waits(name: str, func: Any, args: Any, kwargs: dict[str, Any], given: list[Tensor]) -> None:
        if name in WAITS or (name == "repeat_interleave" and kwargs.get("output_size") is None):
            raise HostWaits(str(func))
        if name in ("index", "index_put", "index_put_"):
            masks = [each for each in args[1] if each is not None and each.dtype in (torch.bool, torch.uint8)]
            if masks:
                raise HostWaits(f"{func} by a mask")
        if name == "copy_" and given[0].device.type == "cpu":
            raise HostWaits(f"{func} to the host")
        if name == "_to_copy" and torch.device(kwargs.get("device") or META).type == "cpu":
            raise HostWaits(f"{func} to the host")

    @staticmethod
    def _refuse_copies(name: str, kwargs: dict[str, Any], given: list[Tensor]) -> None:
        if name == "_to_copy" and given[0].device.type == "cpu" and not kwargs.get("non_blocking"):
            raise HostWaits("a copy from the host that waits for the device")


def as_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Lets torch's norms run fused on meta tensors, and answers what the host fetches with ones.

    Returns:
        The shapes that the host fetched: as many times did it wait.
    """
    fetched: list[tuple[int, ...]] = []

    def on_host(values: Tensor) -> Tensor:
        fetched.append(tuple(values.shape))
        return torch.ones(values.shape, dtype=values.dtype)

    for module in ("glotune.engine.step", "glotune.engine.forward"):
        monkeypatch.setattr(f"{module}.on_host", on_host)
    monkeypatch.setattr(clip_grad, "_has_foreach_support", lambda tensors, device: True)
    return fetched
